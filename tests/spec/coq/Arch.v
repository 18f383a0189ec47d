(** * The architectural PMU of one logical processor, as software sees it.

    Section numbers are those of the Intel SDM, volume 3B, revision 325462-083. Words are [N]; a register
    write that does not fit 64 bits cannot be expressed by WRMSR and is refused here. *)
From Coq Require Import NArith List Bool.
Import ListNotations.
Open Scope N_scope.

(** ** Geometry: what CPUID leaf 0AH and IA32_PERF_CAPABILITIES enumerate (20.2.1.1, 20.2.2, 20.8) *)
Record geometry := {
  version : N;      (** 0 (no PMU) to 5: EAX[7:0] *)
  gp_count : nat;   (** general-purpose counters: EAX[15:8] *)
  gp_width : N;     (** their width in bits: EAX[23:16] *)
  fx_map : N;       (** fixed-function counters, a bit each: the lowest EDX[4:0], and from version 5 on ECX *)
  fx_width : N;     (** their width in bits: EDX[12:5] *)
  in_tx : bool;     (** IN_TX and IN_TXCP exist (TSX) *)
  p6 : bool;        (** without a PMU: the P6 family's registers read 0, and do not fault *)
  caps : N          (** IA32_PERF_CAPABILITIES *)
}.
Definition FW_WRITES := 13. (** bit of [caps]: full-width writes (20.2.6) *)

Definition has_fixed (g : geometry) (i : nat) : bool := N.testbit (fx_map g) (N.of_nat i).
(** One more than the number of the last: places of lists. The map may have gaps; registers are 0 there. *)
Definition fx_count (g : geometry) : nat := N.to_nat (N.size (fx_map g)).

(** A geometry that the registers below can represent: global registers have 32 bits for each kind. Before version 5
    fixed-function counters are told by their count, and have no gap (20.2.5.2). *)
Definition geometry_ok (g : geometry) : bool :=
  (Nat.leb (gp_count g) 32) && (Nat.leb (fx_count g) 16)
  && (negb (version g =? 0) || Nat.eqb (gp_count g) 0) && ((2 <=? version g) || Nat.eqb (fx_count g) 0)
  && ((5 <=? version g) || (fx_map g =? N.ones (N.of_nat (fx_count g))))
  && (32 <=? gp_width g) && (gp_width g <=? 64) && (32 <=? fx_width g) && (fx_width g <=? 64).

(** ** Registers *)
Record regs := {
  sel : list N;     (** IA32_PERFEVTSELi *)
  fctrl : N;        (** IA32_FIXED_CTR_CTRL *)
  gctrl : N;        (** IA32_PERF_GLOBAL_CTRL *)
  status : N;       (** IA32_PERF_GLOBAL_STATUS *)
  pmc : list N;     (** IA32_PMCi *)
  fxc : list N      (** IA32_FIXED_CTRi *)
}.

Definition rd (l : list N) (i : nat) : N := nth i l 0.
Fixpoint upd (l : list N) (i : nat) (x : N) : list N :=
  match l, i with
  | [], _ => []
  | _ :: t, O => x :: t
  | h :: t, S i => h :: upd t i x
  end.

(** ** Masks *)
Definition ones (n : N) : N := N.ones n.
Definition fits (x mask : N) : bool := N.ldiff x mask =? 0.   (** no bit of [x] outside [mask] *)
Definition bit (b : bool) (i : N) : N := if b then N.shiftl 1 i else 0.

(** IA32_PERFEVTSELi, figure 20-6: bit numbers. *)
Definition USR := 16. Definition OS := 17. Definition INT := 20. Definition EN := 22.
Definition IN_TX := 32. Definition IN_TXCP := 33.
(** Writable: event select and unit mask 15:0, USR, OS, EDGE 18, PC 19, INT, EN, INV 23, CMASK 31:24. Not
    AnyThread (bit 21, which also counts the sibling thread), nothing above 31 but IN_TX and, on counter 2
    alone, IN_TXCP (20.3.6.5); bit 34 (adaptive PEBS) never. *)
Definition sel_mask (g : geometry) (i : nat) : N :=
  N.lor 0xFFDFFFFF (N.lor (bit (in_tx g) IN_TX) (bit (in_tx g && Nat.eqb i 2) IN_TXCP)).

(** IA32_FIXED_CTR_CTRL, figure 20-5: a field of 4 bits each: OS 0, USR 1, AnyThread 2 (reserved), PMI 3. *)
Fixpoint fctrl_mask_n (map : N) (n : nat) : N :=
  match n with
  | O => 0
  | S k => N.lor (fctrl_mask_n map k) (if N.testbit map (N.of_nat k) then N.shiftl 0xB (4 * N.of_nat k) else 0)
  end.
Definition fctrl_mask (g : geometry) : N := fctrl_mask_n (fx_map g) (fx_count g).
Definition field (x : N) (i : nat) : N := N.land (N.shiftr x (4 * N.of_nat i)) 0xF.

(** Counter bits of the global registers (20.2.2): general-purpose i at i, fixed-function i at 32+i. *)
Definition gp_bits (g : geometry) : N := ones (N.of_nat (gp_count g)).
Definition counter_bits (g : geometry) : N :=
  N.lor (gp_bits g) (N.shiftl (fx_map g) 32).
(** What STATUS_RESET and STATUS_SET accept (20.2.4.2; volume 4, table 2-2): counters, and OvfBuf (62) and CondChgd (63),
    which nothing in a vPMU sets. Trace_ToPA (55), LBR_Frz (58), CTR_Frz (59), ASCI (60) and Ovf_Uncore (61) belong to what no
    guest has. *)
Definition status_mask (g : geometry) : N := N.lor (counter_bits g) (N.shiftl 3 62).

(** ** Registers by MSR number (20.2.1.1, 20.2.2, 20.2.4, 20.2.6) *)
Inductive reg :=
  | Sel (i : nat) | Legacy (i : nat) | Full (i : nat) | Fixed (i : nat)
  | FixedCtrl | GStatus | GCtrl | GReset | GSet | GInuse | Caps | P6.

Definition index (m base : N) (count : nat) : option nat :=
  if (base <=? m) && (m <? base + N.of_nat count) then Some (N.to_nat (m - base)) else None.

Definition decode (g : geometry) (m : N) : option reg :=
  match index m 0x186 (gp_count g), index m 0xC1 (gp_count g), index m 0x4C1 (gp_count g),
        index m 0x309 (fx_count g) with
  | Some i, _, _, _ => Some (Sel i)
  | _, Some i, _, _ => Some (Legacy i)
  | _, _, Some i, _ => if N.testbit (caps g) FW_WRITES then Some (Full i) else None
  | _, _, _, Some i => if has_fixed g i then Some (Fixed i) else None
  | None, None, None, None =>
      if (m =? 0x345) && (negb (version g =? 0) || p6 g) then Some Caps
      else if (version g =? 0) && p6 g && ((m =? 0xC1) || (m =? 0xC2) || (m =? 0x186) || (m =? 0x187)) then Some P6
      else if version g <? 2 then None
      else if m =? 0x38D then Some FixedCtrl
      else if m =? 0x38E then Some GStatus
      else if m =? 0x38F then Some GCtrl
      else if m =? 0x390 then Some GReset
      else if version g <? 4 then None
      else if m =? 0x391 then Some GSet
      else if m =? 0x392 then Some GInuse
      else None
  end.

(** IA32_PERF_GLOBAL_INUSE (20.2.4.3): which counters have an event, and whether any raises a PMI. *)
Fixpoint inuse_sel (i : N) (l : list N) : N :=
  match l with
  | [] => 0
  | x :: t => N.lor (bit (negb (N.land x 0xFF =? 0)) i) (inuse_sel (i + 1) t)
  end.
Fixpoint inuse_fx (n : nat) (x : N) : N :=
  match n with
  | O => 0
  | S k => N.lor (inuse_fx k x) (bit (negb (N.land (field x k) 3 =? 0)) (32 + N.of_nat k))
  end.
Fixpoint fx_pmi (n : nat) (x : N) : bool :=
  match n with O => false | S k => fx_pmi k x || N.testbit (field x k) 3 end.
Definition inuse (g : geometry) (r : regs) : N :=
  N.lor (N.lor (inuse_sel 0 (sel r)) (inuse_fx (fx_count g) (fctrl r)))
        (bit (existsb (fun x => N.testbit x INT) (sel r) || fx_pmi (fx_count g) (fctrl r)) 63).

(** ** RDMSR, WRMSR and RDPMC *)
Inductive access :=
  | Rd (m : N) | Wr (m x : N)
  | Rdpmc (ecx cpl : N) (pe pce : bool).   (** with CR0.PE and CR4.PCE *)
Inductive answer := Done | Value (x : N) | GP.  (** GP: #GP(0) *)

Definition read (g : geometry) (r : regs) (k : reg) : answer :=
  match k with
  | Sel i => Value (rd (sel r) i)
  | Legacy i | Full i => Value (rd (pmc r) i)
  | Fixed i => Value (rd (fxc r) i)
  | FixedCtrl => Value (fctrl r)
  | GStatus => Value (status r)
  | GCtrl => Value (gctrl r)
  | GReset | GSet | P6 => Value 0
  | GInuse => Value (inuse g r)
  | Caps => Value (caps g)
  end.

(** A legacy counter write takes 32 bits and extends their sign (20.2.6). *)
Definition sign32 (x : N) : N :=
  let low := N.land x (ones 32) in
  if N.testbit low 31 then N.lor low 0xFFFFFFFF00000000 else low.

Definition set_sel (r : regs) v := {| sel := v; fctrl := fctrl r; gctrl := gctrl r; status := status r; pmc := pmc r; fxc := fxc r |}.
Definition set_fctrl (r : regs) v := {| sel := sel r; fctrl := v; gctrl := gctrl r; status := status r; pmc := pmc r; fxc := fxc r |}.
Definition set_gctrl (r : regs) v := {| sel := sel r; fctrl := fctrl r; gctrl := v; status := status r; pmc := pmc r; fxc := fxc r |}.
Definition set_status (r : regs) v := {| sel := sel r; fctrl := fctrl r; gctrl := gctrl r; status := v; pmc := pmc r; fxc := fxc r |}.
Definition set_pmc (r : regs) v := {| sel := sel r; fctrl := fctrl r; gctrl := gctrl r; status := status r; pmc := v; fxc := fxc r |}.
Definition set_fxc (r : regs) v := {| sel := sel r; fctrl := fctrl r; gctrl := gctrl r; status := status r; pmc := pmc r; fxc := v |}.

(** [None] is #GP(0): a reserved bit, or a register that is not writable. *)
Definition write (g : geometry) (r : regs) (k : reg) (x : N) : option regs :=
  let when (b : bool) (r' : regs) := if b then Some r' else None in
  match k with
  | Sel i => when (fits x (sel_mask g i)) (set_sel r (upd (sel r) i x))
  | Legacy i => when true (set_pmc r (upd (pmc r) i (N.land (sign32 x) (ones (gp_width g)))))
  | Full i => when (fits x (ones (gp_width g))) (set_pmc r (upd (pmc r) i x))
  | Fixed i => when true (set_fxc r (upd (fxc r) i (N.land x (ones (fx_width g)))))
  | FixedCtrl => when (fits x (fctrl_mask g)) (set_fctrl r x)
  | GCtrl => when (fits x (counter_bits g)) (set_gctrl r x)
  | GReset => when (fits x (status_mask g)) (set_status r (N.ldiff (status r) x))
  | GSet => when (fits x (status_mask g)) (set_status r (N.lor (status r) (N.land x (counter_bits g))))
  | GStatus | GInuse | Caps => None
  | P6 => Some r   (** P6-family software without a PMU: accepted and dropped *)
  end.

(** RDPMC (volume 2B): ECX[31:16] is the type, 0 or 4000H; ECX[15:0] the counter. *)
Definition rdpmc (g : geometry) (r : regs) (ecx cpl : N) (pe pce : bool) : answer :=
  if pe && negb (cpl =? 0) && negb pce then GP
  else if ecx <? N.of_nat (gp_count g) then Value (rd (pmc r) (N.to_nat ecx))
  else match index ecx 0x40000000 (fx_count g) with
       | Some i => if has_fixed g i then Value (rd (fxc r) i) else GP
       | None => GP
       end.

Definition do_access (g : geometry) (r : regs) (a : access) : regs * answer :=
  match a with
  | Rd m => (r, match decode g m with Some k => read g r k | None => GP end)
  | Wr m x =>
      match decode g m with
      | Some k => if fits x (ones 64)
                  then match write g r k x with Some r' => (r', Done) | None => (r, GP) end
                  else (r, GP)
      | None => (r, GP)
      end
  | Rdpmc ecx cpl pe pce => (r, rdpmc g r ecx cpl pe pce)
  end.

(** State after reset (table 10-1 and 20.2.2: GLOBAL_CTRL enables every general-purpose counter). *)
Definition reset (g : geometry) : regs :=
  {| sel := repeat 0 (gp_count g); fctrl := 0; gctrl := gp_bits g; status := 0;
     pmc := repeat 0 (gp_count g); fxc := repeat 0 (fx_count g) |}.

(** ** Counting (20.2.1, 20.2.2)

    A counter counts when its GLOBAL_CTRL bit and its own enable are set. *)
Definition gp_enabled (r : regs) (i : nat) : bool :=
  N.testbit (gctrl r) (N.of_nat i) && N.testbit (rd (sel r) i) EN.
Definition fx_enabled (r : regs) (i : nat) : bool :=
  N.testbit (gctrl r) (32 + N.of_nat i) && negb (N.land (field (fctrl r) i) 3 =? 0).
Definition gp_int (r : regs) (i : nat) : bool := N.testbit (rd (sel r) i) INT.
Definition fx_int (r : regs) (i : nat) : bool := N.testbit (field (fctrl r) i) 3.

(** [add en w i cs ns]: counter i+k gains [nth k ns] if it is enabled, modulo 2^w. *)
Fixpoint add (en : nat -> bool) (w : N) (i : nat) (cs ns : list N) : list N :=
  match cs with
  | [] => []
  | c :: t => (if en i then N.land (c + hd 0 ns) (ones w) else c) :: add en w (S i) t (tl ns)
  end.
(** Which of them wrapped: bit [base]+k for counter k; and whether one of those has INT set. *)
Fixpoint wraps (en : nat -> bool) (w base : N) (i : nat) (cs ns : list N) : N :=
  match cs with
  | [] => 0
  | c :: t => N.lor (bit (en i && (ones w <? c + hd 0 ns)) (base + N.of_nat i)) (wraps en w base (S i) t (tl ns))
  end.
Fixpoint wraps_int (en int : nat -> bool) (w : N) (i : nat) (cs ns : list N) : bool :=
  match cs with
  | [] => false
  | c :: t => (en i && (ones w <? c + hd 0 ns) && int i) || wraps_int en int w (S i) t (tl ns)
  end.

(** [count g r gps fxs]: the counted events happen, [gps] and [fxs] times for each counter. The status bit of
    each counter that wraps is set; the flag says that one of these asks for a PMI. *)
Definition count (g : geometry) (r : regs) (gps fxs : list N) : regs * bool :=
  let gw := gp_width g in let fw := fx_width g in
  ({| sel := sel r; fctrl := fctrl r; gctrl := gctrl r;
      status := N.lor (status r) (N.lor (wraps (gp_enabled r) gw 0 0 (pmc r) gps)
                                        (wraps (fx_enabled r) fw 32 0 (fxc r) fxs));
      pmc := add (gp_enabled r) gw 0 (pmc r) gps;
      fxc := add (fx_enabled r) fw 0 (fxc r) fxs |},
   wraps_int (gp_enabled r) (gp_int r) gw 0 (pmc r) gps
   || wraps_int (fx_enabled r) (fx_int r) fw 0 (fxc r) fxs).

(** ** Registers that RDMSR could have produced: what a restore accepts *)
Fixpoint all_i (f : nat -> N -> bool) (i : nat) (l : list N) : bool :=
  match l with [] => true | x :: t => f i x && all_i f (S i) t end.
Definition fx_mask (g : geometry) (i : nat) : N := if has_fixed g i then ones (fx_width g) else 0.
Definition regs_ok (g : geometry) (r : regs) : bool :=
  (Nat.eqb (length (sel r)) (gp_count g)) && (Nat.eqb (length (pmc r)) (gp_count g))
  && (Nat.eqb (length (fxc r)) (fx_count g))
  && all_i (fun i x => fits x (sel_mask g i)) 0 (sel r)
  && fits (fctrl r) (fctrl_mask g) && fits (gctrl r) (counter_bits g) && fits (status r) (counter_bits g)
  && ((2 <=? version g) || (gctrl r =? gp_bits g))   (** before version 2 EN alone enables *)
  && forallb (fun x => fits x (ones (gp_width g))) (pmc r)
  && all_i (fun i x => fits x (fx_mask g i)) 0 (fxc r).
(** A snapshot besides has no status where the guest has no GLOBAL_STATUS. *)
Definition snapshot_ok (g : geometry) (r : regs) : bool := regs_ok g r && ((2 <=? version g) || (status r =? 0)).
