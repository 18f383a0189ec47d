(** * The specification as a program: extracted to OCaml with integers of any size (zarith). [nat] becomes [int]:
    it only counts VMs and counters. *)
From Coq Require Import Arith NArith List Bool.
From Vpmu Require Import Arch Policy Machine Permitted Limit.
From Coq Require Extraction ExtrOcamlBasic ExtrOcamlNatInt ExtrOcamlZBigInt.
Import ListNotations.

(** The PMU context that the kernel holds for VM [v]: what its hardware registers are when it runs. *)
Definition context (H : geometry) (s : machine) (v : nat) : regs :=
  let m := get s v in spread H (effective (geo m) (pol m) (view s v)).

(** The events of a trace are those of the host: each is a few operations of the machine. Counting is an entry,
    the counting, an exit, and the delivery of the PMI that it may have raised. *)
Definition count_ops (s : machine) (v : nat) (gps fxs : list N) : list op :=
  let '(_, pmi) := counted (geo (get s v)) (pol (get s v)) (view s v) gps fxs in
  [Enter v; Tick v gps fxs; Exit v; Take] ++ (if pmi then [Deliver v] else []).
Definition snapshot_of (x : out) : option (regs * bool) :=
  match x with Snapshot r p => Some (r, p) | _ => None end.
(** The pair that was recorded last. *)
Definition newest (s : machine) (v : nat) : option pair := hd_error (approved (get s v)).

Extraction "spec.ml" init step run context count_ops snapshot_of newest geometry_ok possible pending view permitted fx_count
  fresh judge.
