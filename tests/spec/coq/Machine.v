(** * The machine: one logical processor, several VMs, a kernel that switches them, and a policy domain.

    Assumptions, all in this file, none proved:
    - [Direct], [Tick]: while a guest runs with direct access, the processor executes its accesses to data
      registers on the hardware registers as [Arch.do_access] says, and counts as [Arch.count] says;
    - [load], [gate], [off]: a value that the kernel writes into a hardware register is the value there;
      VM entry loads and VM exit saves and clears IA32_PERF_GLOBAL_CTRL (SDM volume 3C, 27.4 and 28.3.2.1);
    - [apic]: the local APIC holds at most one PMI (it is edge-triggered: 11.5.1), and no PMI arises while
      GLOBAL_CTRL is 0;
    - an entry, an exit or a change by the policy domain is one operation, whatever the order in which the kernel writes
      single registers in it ([Invariant.switched] is the one state inside an entry that a theorem speaks of);
    - how many events the processor counts is given with [Tick], and when a guest runs with [Enter] and [Exit];
    - the trapped operations run only while no guest does (one logical processor). So a change of policy with the
      withdrawal of the approved pairs is one operation, and so is every other of the policy domain;
    - the guest's control registers are one copy here, [saved]. The kernel keeps it where it completes writes by
      itself, and the policy domain takes it back before it computes with it. *)
From Coq Require Import Arith NArith List Bool.
From Vpmu Require Import Arch Policy.
Import ListNotations.
Open Scope N_scope.

Record vm := {
  geo : geometry;     (** what this guest sees *)
  direct : bool;      (** its data registers are the hardware's; else every access traps *)
  pol : filter;
  saved : regs;       (** its registers, as far as they are not in the hardware *)
  latched : bool;     (** a PMI of this VM that the kernel has taken and not yet handed over *)
  approved : list pair  (** what the kernel may do by itself when this guest writes a control register *)
}.
Record machine := {
  cur : option nat;   (** the guest that runs; None: the host runs *)
  owner : option nat; (** the VM whose registers are loaded *)
  vms : list vm;
  hw : regs;
  apic : bool         (** a PMI on its way from the hardware *)
}.

Definition is (o : option nat) (v : nat) : bool := match o with Some w => Nat.eqb w v | None => false end.
Definition nobody : vm :=
  let g := {| version := 0; gp_count := 0; gp_width := 48; fx_map := 0; fx_width := 48; in_tx := false;
            p6 := false; caps := 0 |} in
  {| geo := g; direct := false; pol := {| passthrough := false; deny := false; masked := false; entries := []; fixed_bitmap := 0 |};
     saved := reset g; latched := false; approved := [] |}.
Definition get (s : machine) (v : nat) : vm := nth v (vms s) nobody.
Fixpoint put_nth (l : list vm) (i : nat) (x : vm) : list vm :=
  match l, i with
  | [], _ => []
  | _ :: t, O => x :: t
  | h :: t, S i => h :: put_nth t i x
  end.
Definition with_saved (m : vm) (r : regs) :=
  {| geo := geo m; direct := direct m; pol := pol m; saved := r; latched := latched m; approved := approved m |}.
Definition with_latched (m : vm) (b : bool) :=
  {| geo := geo m; direct := direct m; pol := pol m; saved := saved m; latched := b; approved := approved m |}.
Definition with_pol (m : vm) (f : filter) :=
  {| geo := geo m; direct := direct m; pol := f; saved := saved m; latched := latched m; approved := approved m |}.
Definition with_approved (m : vm) (t : list pair) :=
  {| geo := geo m; direct := direct m; pol := pol m; saved := saved m; latched := latched m; approved := t |}.
Definition withdrawn (m : vm) : vm := with_approved m [].

(** ** What a guest sees, wherever it is held: data registers of the loaded VM are the hardware's; GLOBAL_CTRL
    is the hardware's only while the guest runs; control registers are the guest's own copy, but in passthrough. *)
Definition view (s : machine) (v : nat) : regs :=
  let m := get s v in
  let raw := passthrough (pol m) in
  if is (owner s) v then
    {| sel := if raw then firstn (gp_count (geo m)) (sel (hw s)) else sel (saved m);
       fctrl := if raw then fctrl (hw s) else fctrl (saved m);
       gctrl := if is (cur s) v then gctrl (hw s) else gctrl (saved m);
       status := status (hw s);
       pmc := firstn (gp_count (geo m)) (pmc (hw s)); fxc := firstn (fx_count (geo m)) (fxc (hw s)) |}
  else saved m.
Definition pending (s : machine) (v : nat) : bool := latched (get s v) || (is (owner s) v && apic s).

(** Before version 2 there is no GLOBAL_STATUS to be seen (20.2.1). *)
Definition shown (g : geometry) (r : regs) : regs := if 2 <=? version g then r else set_status r 0.

Section Machine.
Variable H : geometry.   (** the hardware's *)

(** ** Loading: counters that the guest does not have are 0 and off, so that nothing of another VM is left *)
Definition pad (n : nat) (l : list N) : list N := l ++ repeat 0 (n - length l).
Definition gate (on : bool) (r : regs) : regs := set_gctrl r (if on then gctrl r else 0).
Definition spread (r : regs) : regs :=
  {| sel := pad (gp_count H) (sel r); fctrl := fctrl r; gctrl := gctrl r; status := status r;
     pmc := pad (gp_count H) (pmc r); fxc := pad (fx_count H) (fxc r) |}.
Definition load (m : vm) (r : regs) (on : bool) : regs := gate on (spread (effective (geo m) (pol m) r)).
Definition off : regs :=
  spread {| sel := []; fctrl := 0; gctrl := 0; status := 0; pmc := []; fxc := [] |}.

(** The VM [v] becomes [m] with registers [r], in the hardware too if it is loaded. *)
Definition store (s : machine) (v : nat) (m : vm) (r : regs) : machine :=
  {| cur := cur s; owner := owner s; vms := put_nth (vms s) v (with_saved m r);
     hw := if is (owner s) v then load m r (is (cur s) v) else hw s; apic := apic s |}.

(** The kernel takes the PMI on its way: it belongs to the VM that is loaded. *)
Definition take (s : machine) : machine :=
  match owner s with
  | Some o => {| cur := cur s; owner := owner s;
                 vms := put_nth (vms s) o (with_latched (get s o) (latched (get s o) || apic s));
                 hw := hw s; apic := false |}
  | None => s
  end.
(** Another VM is about to run: take what is on its way, save the registers, clear the hardware. *)
Definition evict (s : machine) : machine :=
  match owner s with
  | Some o => let t := take s in
              {| cur := cur s; owner := None; vms := put_nth (vms t) o (with_saved (get t o) (view t o));
                 hw := off; apic := false |}
  | None => s
  end.

(** The kernel records what the policy domain has decided about the value that is now in a control register, and drops
    entry [n] of its table for it (none where the table has room). *)
Definition recorded (m : vm) (r : regs) (msr : N) (n : nat) : option vm :=
  match control_value (geo m) msr r with
  | Some x => match decide (geo m) (pol m) msr x with
              | Some h => Some (with_approved m ((msr, x, h) :: firstn n (approved m) ++ skipn (S n) (approved m)))
              | None => None
              end
  | None => None
  end.

(** The kernel carries out an access to a control register by itself, just after the exit, while v's registers are
    loaded, and completes the instruction. It knows no policy: [guest] are the guest's control registers, which it keeps, and
    [h] the hardware's, after the access. The instruction is counted by what the hardware has now. *)
Definition finish (s : machine) (v : nat) (guest h : regs) (user : bool) : machine :=
  let a := get s v in
  let h := set_gctrl h (gctrl guest) in
  let '(c, pmi) := count H h (map (credit_gp user false) (sel h)) [credit_fx user (fctrl h)] in
  let r := {| sel := sel guest; fctrl := fctrl guest; gctrl := gctrl guest; status := status c;
              pmc := firstn (gp_count (geo a)) (pmc c); fxc := firstn (fx_count (geo a)) (fxc c) |} in
  {| cur := cur s; owner := owner s; vms := put_nth (vms s) v (with_saved (with_latched a (latched a || pmi)) r);
     hw := gate false c; apic := apic s |}.
Definition in_kernel (s : machine) (v : nat) (a : access) (user : bool) : option (machine * answer) :=
  let m := get s v in
  match a with
  | Rd n => match control_value (geo m) n (saved m) with
            | Some x => if hit (approved m) n x then Some (finish s v (saved m) (hw s) user, Value x) else None
            | None => None
            end
  | Wr n x => match hit (approved m) n x with
              | Some h => Some (finish s v (put_control (geo m) n x (saved m)) (put_control (geo m) n h (hw s)) user, Done)
              | None => None
              end
  | Rdpmc _ _ _ _ => None
  end.

(** ** Operations *)
Inductive op :=
  | Enter (v : nat) | Exit (v : nat)             (** VM entry and exit of VM v *)
  | Tick (v : nat) (gps fxs : list N)            (** the processor counts this many events on each counter *)
  | Direct (v : nat) (a : access)                (** the running guest accesses a register without an exit *)
  | Trap (v : nat) (a : access)                  (** the policy domain carries out a trapped access *)
  | Record (v : nat) (m : N) (n : nat)           (** and hands the kernel the pair that it has decided on *)
  | Approved (v : nat) (a : access) (user : bool) (** the kernel carries out an access that is approved, and completes it *)
  | Complete (v : nat) (user branch : bool)      (** the VMM has completed an instruction for the guest *)
  | Take                                         (** the PMI vector arrives at the kernel *)
  | Deliver (v : nat)                            (** v's PMI is handed to v's VMM *)
  | Reset (v : nat)                              (** the vPMU as after power-up; a PMI on its way still comes *)
  | SetPolicy (v : nat) (f : filter)
  | Save (v : nat) | Restore (v : nat) (r : regs) (p : bool).
Inductive out := Silent | Answer (a : answer) | Snapshot (r : regs) (p : bool) | Refused.

(** Data registers: what the MSR bitmaps may open. Selectors, FIXED_CTR_CTRL, PERF_CAPABILITIES, STATUS_SET
    and INUSE (it shows filtered fields as unused) never. *)
Definition data_access (a : access) : bool :=
  match a with
  | Rd m | Wr m _ =>
      match decode H m with
      | Some (Legacy _ | Full _ | Fixed _ | GStatus | GCtrl | GReset) => true
      | _ => false
      end
  | Rdpmc _ _ _ _ => true
  end.

(** Control registers, and STATUS_SET with them: what the bitmap opens besides in passthrough. *)
Definition control_access (a : access) : bool :=
  match a with
  | Rd m | Wr m _ => match decode H m with Some (Sel _ | FixedCtrl | GSet) => true | _ => false end
  | Rdpmc _ _ _ _ => false
  end.

(** [None]: the operation does not occur in this state. *)
Definition step (s : machine) (o : op) : option (machine * out) :=
  let exists_ v := Nat.ltb v (length (vms s)) in
  let host := match cur s with None => true | Some _ => false end in
  let only (b : bool) (x : machine * out) := if b then Some x else None in
  match o with
  | Enter v =>
      let t := if is (owner s) v then s else evict s in
      only (host && exists_ v)
        ({| cur := Some v; owner := Some v; vms := vms t; hw := load (get t v) (view t v) true; apic := apic t |},
         Silent)
  | Exit v =>
      only (is (cur s) v)
        ({| cur := None; owner := owner s; vms := put_nth (vms s) v (with_saved (get s v) (view s v));
            hw := gate false (hw s); apic := apic s |}, Silent)
  | Tick v gps fxs =>
      let '(h, pmi) := count H (hw s) gps fxs in
      only (is (cur s) v)
        ({| cur := cur s; owner := owner s; vms := vms s; hw := h; apic := apic s || pmi |}, Silent)
  | Direct v a =>
      let '(h, r) := do_access H (hw s) a in
      only (is (cur s) v && direct (get s v) && (data_access a || (passthrough (pol (get s v)) && control_access a)))
        ({| cur := cur s; owner := owner s; vms := vms s; hw := h; apic := apic s |}, Answer r)
  | Trap v a =>
      let '(r, ans) := do_access (geo (get s v)) (view s v) a in
      only (host && exists_ v && negb (passthrough (pol (get s v)) && control_access a))
        (match ans with Done => store s v (get s v) r | _ => s end, Answer ans)
  | Approved v a user =>
      match in_kernel s v a user with
      | Some (t, ans) => only (host && is (owner s) v && negb (passthrough (pol (get s v)))) (t, Answer ans)
      | None => None
      end
  | Record v msr n =>
      match recorded (get s v) (view s v) msr n with
      | Some m => only (host && exists_ v) (store s v m (view s v), Silent)
      | None => None
      end
  | Complete v user branch =>
      let '(r, pmi) := complete (geo (get s v)) (pol (get s v)) (view s v) user branch in
      only (host && exists_ v)
        (store s v (with_latched (get s v) (latched (get s v) || pmi)) r, Silent)
  | Take => only true (take s, Silent)
  | Deliver v =>
      let t := if is (owner s) v then take s else s in
      only (host && exists_ v && pending s v)
        ({| cur := cur t; owner := owner t; vms := put_nth (vms t) v (with_latched (get t v) false);
            hw := hw t; apic := apic t |}, Silent)
  | Reset v => only (host && exists_ v) (store s v (withdrawn (get s v)) (reset (geo (get s v))), Silent)
  | SetPolicy v f =>
      only (host && exists_ v)
        (if mediated (geo (get s v)) (pol (get s v)) && negb (passthrough f)
         then (store s v (withdrawn (with_pol (get s v) f)) (view s v), Silent) else (s, Refused))
  | Save v =>
      only (host && exists_ v)
        (s, if mediated (geo (get s v)) (pol (get s v))
            then Snapshot (shown (geo (get s v)) (view s v)) (pending s v) else Refused)
  | Restore v r p =>
      let t := if is (owner s) v then take s else s in
      only (host && exists_ v)
        (if mediated (geo (get s v)) (pol (get s v)) && snapshot_ok (geo (get s v)) r
         then (store t v (withdrawn (with_latched (get t v) p)) r, Silent) else (s, Refused))
  end.

Fixpoint run (s : machine) (os : list op) : option (machine * list out) :=
  match os with
  | [] => Some (s, [])
  | o :: os =>
      match step s o with
      | Some (s', x) => match run s' os with Some (t, xs) => Some (t, x :: xs) | None => None end
      | None => None
      end
  end.

(** Two geometries with the same data registers. *)
Definition same_data (g : geometry) : Prop :=
  gp_count g = gp_count H /\ gp_width g = gp_width H /\ fx_map g = fx_map H /\ fx_width g = fx_width H
  /\ 2 <= version g /\ 2 <= version H /\ N.testbit (caps g) FW_WRITES = N.testbit (caps H) FW_WRITES.

(** And with the same control registers, as passthrough wants it. *)
Definition same_control (g : geometry) : Prop :=
  same_data g /\ in_tx g = in_tx H /\ (4 <=? version g) = (4 <=? version H).

(** ** Start: every VM reset, nothing loaded. A guest has at most the hardware's counters, of the hardware's
    width; direct access is granted only where its data registers are those of the hardware. *)
Record config := { c_geo : geometry; c_direct : bool; c_pol : filter }.
Definition boot (c : config) : vm :=
  {| geo := c_geo c; direct := c_direct c; pol := c_pol c; saved := reset (c_geo c); latched := false;
     approved := [] |}.
Definition init (cs : list config) : machine :=
  {| cur := None; owner := None; vms := map boot cs; hw := off; apic := false |}.
Definition config_ok (c : config) : Prop :=
  (gp_count (c_geo c) <= gp_count H)%nat /\ fits (fx_map (c_geo c)) (fx_map H) = true
  /\ gp_width (c_geo c) = gp_width H /\ fx_width (c_geo c) = fx_width H
  /\ geometry_ok (c_geo c) = true
  /\ (c_direct c = true -> same_data (c_geo c))
  /\ (passthrough (c_pol c) = true -> same_control (c_geo c)).
End Machine.
