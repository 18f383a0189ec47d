(** * What a VM may count: the event filter, and the values that hardware registers get. *)
From Coq Require Import NArith List Bool.
From Vpmu Require Import Arch.
Import ListNotations.
Open Scope N_scope.

(** ** The filter: the semantics of KVM_SET_PMU_EVENT_FILTER on Intel *)
Record filter := {
  passthrough : bool; (** mode passthrough, for benchmarks: no policy, and control registers are the guest's own *)
  deny : bool;        (** the listed events are denied (else: only they are allowed) *)
  masked : bool;      (** entries are masked entries *)
  entries : list N;
  fixed_bitmap : N    (** bit i: the action applies to fixed-function counter i *)
}.

(** What a filter decides on: event select 7:0 and unit mask 15:8, nothing else of the selector. *)
Definition key (x : N) : N := N.land x 0xFFFF.

(** A masked entry: event select 7:0, unit-mask match 15:8, exclude 55, unit-mask mask 63:56. *)
Definition entry_hits (e k : N) : bool :=
  (N.land e 0xFF =? N.land k 0xFF)
  && (N.land (N.shiftr k 8) (N.shiftr e 56) =? N.land (N.shiftr e 8) 0xFF).
Definition excludes (e : N) : bool := N.testbit e 55.

Definition listed (f : filter) (k : N) : bool :=
  if masked f
  then existsb (fun e => negb (excludes e) && entry_hits e k) (entries f)
       && negb (existsb (fun e => excludes e && entry_hits e k) (entries f))
  else existsb (fun e => key e =? k) (entries f).
(** Off-core responses mean something only with MSRs that no guest has: denied whatever the filter says. *)
Definition offcore : list N := [0x01B7; 0x01BB; 0x012A; 0x012B].
Definition permitted (f : filter) (x : N) : bool :=
  passthrough f || (negb (existsb (N.eqb (key x)) offcore) && xorb (deny f) (listed f (key x))).
Definition fixed_permitted (f : filter) (i : nat) : bool :=
  passthrough f || xorb (deny f) (N.testbit (fixed_bitmap f) (N.of_nat i)).

(** A VM that has counters and a policy: its filter can be replaced, and snapshots of it taken and restored. *)
Definition mediated (g : geometry) (f : filter) : bool := negb (version g =? 0) && negb (passthrough f).

(** ** Hardware values: the guest's, with the enable of what is not permitted cleared *)
Definition hw_sel (f : filter) (x : N) : N := if permitted f x then x else N.clearbit x EN.

(** All fields are computed anew from the whole guest value, whatever changed. *)
Fixpoint hw_fctrl (f : filter) (n : nat) (x : N) : N :=
  match n with
  | O => 0
  | S k => N.lor (hw_fctrl f k x)
                 (if fixed_permitted f k then N.shiftl (field x k) (4 * N.of_nat k) else 0)
  end.

(** The registers as hardware gets them: control registers filtered, data and global registers as they are. *)
Definition effective (g : geometry) (f : filter) (r : regs) : regs :=
  {| sel := map (hw_sel f) (sel r); fctrl := hw_fctrl f (fx_count g) (fctrl r);
     gctrl := gctrl r; status := status r; pmc := pmc r; fxc := fxc r |}.

(** ** Instructions that the VMM or the kernel completes for the guest

    A VM exit does not retire the instruction (26.1). When it has been carried out, each enabled counter of
    instructions retired (00C0H, fixed-function 0) that counts in the guest's ring gains 1; so does each counter of
    branches (00C4H) where it was a branch. It is the one event of its cycle (20.2.1.1): a counter mask above 1 is not
    met, and INV counts the cycles that do not meet the mask. EDGE counts rises, and hardware sees one at the next
    retirement. *)
Definition EDGE := 18. Definition INV := 23. Definition CMASK := 24.
Definition one_event (x : N) : bool :=
  negb (N.testbit x EDGE)
  && let mask := N.land (N.shiftr x CMASK) 0xFF in (mask =? 0) || ((mask =? 1) && negb (N.testbit x INV)).
Definition credit_gp (user branch : bool) (x : N) : N :=
  if ((key x =? 0x00C0) || (branch && (key x =? 0x00C4))) && N.testbit x (if user then USR else OS) && one_event x
  then 1 else 0.
Definition credit_fx (user : bool) (x : N) : N := if N.testbit (field x 0) (if user then 1 else 0) then 1 else 0.

(** The registers [r] of a guest when its effective counters count: the guest's own control registers stay. *)
Definition counted (g : geometry) (f : filter) (r : regs) (gps fxs : list N) : regs * bool :=
  let '(c, pmi) := count g (effective g f r) gps fxs in
  ({| sel := sel r; fctrl := fctrl r; gctrl := gctrl r; status := status c; pmc := pmc c; fxc := fxc c |}, pmi).
Definition complete (g : geometry) (f : filter) (r : regs) (user branch : bool) : regs * bool :=
  let e := effective g f r in
  counted g f r (map (credit_gp user branch) (sel e)) [credit_fx user (fctrl e)].

(** ** Approved pairs

    What the hardware's control register gets when a guest writes [x] to the one with number [m]; [None]: there is no such
    control register, or the write is refused. *)
Definition decide (g : geometry) (f : filter) (m x : N) : option N :=
  match decode g m with
  | Some (Sel i) => if fits x (ones 64) && fits x (sel_mask g i) then Some (hw_sel f x) else None
  | Some FixedCtrl => if fits x (ones 64) && fits x (fctrl_mask g) then Some (hw_fctrl f (fx_count g) x) else None
  | _ => None
  end.
(** The control register with number [m] gets [x], whatever [x] is. *)
Definition put_control (g : geometry) (m x : N) (r : regs) : regs :=
  match decode g m with
  | Some (Sel i) => set_sel r (upd (sel r) i x)
  | Some FixedCtrl => set_fctrl r x
  | _ => r
  end.
Definition control_value (g : geometry) (m : N) (r : regs) : option N :=
  match decode g m with
  | Some (Sel i) => Some (rd (sel r) i)
  | Some FixedCtrl => Some (fctrl r)
  | _ => None
  end.
(** A register's number, the guest's value, the hardware's. *)
Definition pair : Type := N * N * N.
Definition hit (t : list pair) (m x : N) : option N :=
  match find (fun '(n, y, _) => (n =? m) && (y =? x)) t with Some (_, _, h) => Some h | None => None end.
