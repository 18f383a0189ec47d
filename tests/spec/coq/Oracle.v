(** * The specification as a program: extracted to OCaml with integers of any size (zarith). [nat] becomes [int]:
    it only counts VMs and counters. *)
From Coq Require Import Arith NArith List Bool.
From Vpmu Require Import Arch Policy Machine Limit.
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

(** A VM that the theorems speak of. *)
Definition same_datab (H g : geometry) : bool :=
  Nat.eqb (gp_count g) (gp_count H) && (gp_width g =? gp_width H) && (fx_map g =? fx_map H) && (fx_width g =? fx_width H)
  && (2 <=? version g) && (2 <=? version H) && Bool.eqb (N.testbit (caps g) FW_WRITES) (N.testbit (caps H) FW_WRITES).
Definition possible (H : geometry) (c : config) : bool :=
  let g := c_geo c in
  Nat.leb (gp_count g) (gp_count H) && fits (fx_map g) (fx_map H) && (gp_width g =? gp_width H)
  && (fx_width g =? fx_width H) && geometry_ok g && (negb (c_direct c) || same_datab H g)
  && (negb (passthrough (c_pol c))
      || (same_datab H g && Bool.eqb (in_tx g) (in_tx H) && Bool.eqb (4 <=? version g) (4 <=? version H))).
Lemma same_datab_ok H g : same_datab H g = true -> same_data H g.
Proof.
  unfold same_datab, same_data. rewrite !andb_true_iff, Nat.eqb_eq, !N.eqb_eq, !N.leb_le, Bool.eqb_true_iff. intuition.
Qed.
Lemma possible_ok H c : possible H c = true -> config_ok H c.
Proof.
  unfold possible, config_ok. rewrite !andb_true_iff, Nat.leb_le, !N.eqb_eq, !orb_true_iff, !negb_true_iff.
  intros ((((((A & B) & C) & D) & E) & F) & G). do 5 (split; [assumption |]). split; intros P.
  - destruct F as [F | F]; [congruence | apply same_datab_ok, F].
  - destruct G as [G | G]; [congruence |]. rewrite !andb_true_iff, !Bool.eqb_true_iff in G.
    destruct G as ((S & T) & V). split; [apply same_datab_ok, S | auto].
Qed.

Extraction "spec.ml" init step run context count_ops snapshot_of newest geometry_ok possible pending view permitted fx_count
  fresh judge.
