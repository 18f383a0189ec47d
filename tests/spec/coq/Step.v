(** * WRMSR to one register as terms, for the machine code of [Vpmu::write].

    For each register: for which values the write is accepted, which hardware register gets a value, and which. *)
From Coq Require Import Arith NArith List Bool String Lia.
From Vpmu Require Import Arch Policy Machine Bits Registers Terms.
Import ListNotations.
Open Scope N_scope.

(** The hardware register with a value of the policy domain's, by its number. *)
Definition number (t : reg) : N :=
  match t with
  | Sel i => 0x186 + N.of_nat i | Full i => 0x4C1 + N.of_nat i | Fixed i => 0x309 + N.of_nat i
  | FixedCtrl => 0x38D | GStatus => 0x38E | GCtrl => 0x38F | _ => 0
  end.
Definition put_raw (t : reg) (v : N) (r : regs) : regs :=
  match t with
  | Sel i => set_sel r (upd (sel r) i v) | Full i => set_pmc r (upd (pmc r) i v) | Fixed i => set_fxc r (upd (fxc r) i v)
  | FixedCtrl => set_fctrl r v | GStatus => set_status r v | GCtrl => set_gctrl r v | _ => r
  end.

(** v0 is the value written; v1 the word of the filter's table for it, or for FIXED_CTR_CTRL 0xF in each permitted
    field; v2 the hardware's GLOBAL_STATUS. *)
Definition within (mask : N) : cond := Eq (And (Var 0) (Lit (not64 mask))) (Lit 0).
Definition always : cond := Eq (Lit 0) (Lit 0).
Definition step_term (g : geometry) (m : N) : option (cond * reg * bv) :=
  match decode g m with
  | Some (Sel i) => Some (within (sel_mask g i), Sel i, hw_sel_term)
  | Some FixedCtrl => Some (within (fctrl_mask g), FixedCtrl, hw_fctrl_term)
  | Some (Legacy i) => Some (always, Full i, And legacy_low_term (Lit (ones (gp_width g))))
  | Some (Full i) => Some (within (ones (gp_width g)), Full i, Var 0)
  | Some (Fixed i) => Some (always, Fixed i, And (Var 0) (Lit (ones (fx_width g))))
  | Some GCtrl => Some (within (counter_bits g), GCtrl, Var 0)
  | Some GReset => Some (within (status_mask g), GStatus, And (And (Var 2) (Lit (counter_bits g))) (Not (Var 0)))
  | Some GSet => Some (within (status_mask g), GStatus, And (Or (Var 2) (Var 0)) (Lit (counter_bits g)))
  | _ => None
  end.

Lemma evc_within env mask : word (env 0%nat) -> evc env (within mask) = fits (env 0%nat) mask.
Proof. intros W. cbn [evc ev within]. rewrite land_not64 by exact W. reflexivity. Qed.
Lemma land_fits x m : fits x m = true -> N.land x m = x.
Proof.
  rewrite fits_spec. intros F. apply N.bits_inj. intro i. rewrite N.land_spec. specialize (F i).
  destruct (N.testbit x i); auto.
Qed.

Theorem step_term_ok g f r m env : wf g r -> (version g =? 0) = false ->
  word (env 0%nat) -> word (env 2%nat) -> env 2%nat = status r ->
  match decode g m with
  | Some (Sel _) => N.testbit (env 1%nat) (N.land (env 0%nat) 63) = permitted f (env 0%nat)
  | Some FixedCtrl => env 1%nat = fields f (fx_count g)
  | _ => True
  end ->
  match step_term g m with
  | Some (c, t, e) =>
      if evc env c
      then exists r', do_access g r (Wr m (env 0%nat)) = (r', Done)
           /\ effective g f r' = put_raw t (ev env e) (effective g f r)
           /\ sel r' = match t with Sel i => upd (sel r) i (env 0%nat) | _ => sel r end
           /\ fctrl r' = match t with FixedCtrl => env 0%nat | _ => fctrl r end
      else do_access g r (Wr m (env 0%nat)) = (r, GP)
  | None => do_access g r (Wr m (env 0%nat)) = (r, GP)
  end.
Proof.
  intros R Z W WS S P. unfold step_term. cbn [do_access].
  assert (W' : fits (env 0%nat) (ones 64) = true) by exact W. rewrite W'. clear W'.
  destruct (decode g m) as [k |] eqn:K; [| reflexivity].
  destruct k; rewrite ?evc_within by auto; cbn [write].
  - destruct (fits _ _); [| reflexivity]. eexists. split; [reflexivity |]. cbn [effective put_raw set_sel sel fctrl gctrl status pmc fxc].
    rewrite (hw_sel_term_ok f env) by auto. unfold effective; cbn [set_sel sel fctrl gctrl status pmc fxc]. rewrite upd_map. auto.
  - change (evc env always) with true. cbn iota. eexists. split; [reflexivity |].
    change (ev env (And legacy_low_term (Lit (ones (gp_width g))))) with (N.land (ev env legacy_low_term) (ones (gp_width g))).
    rewrite ev_legacy_low. auto.
  - destruct (fits _ _); [| reflexivity]. eexists. split; [reflexivity | auto].
  - change (evc env always) with true. cbn iota. eexists. split; [reflexivity | auto].
  - destruct (fits _ _); [| reflexivity]. eexists. split; [reflexivity |].
    cbn [ev hw_fctrl_term]. rewrite P, <- hw_fctrl_fields. auto.
  - reflexivity.
  - destruct (fits _ _); [| reflexivity]. eexists. split; [reflexivity | auto].
  - destruct (fits _ _); [| reflexivity]. eexists. split; [reflexivity |].
    cbn [ev]. rewrite S, (land_fits (status r)) by apply R. fold full. fold (not64 (env 0%nat)).
    rewrite land_not64 by (rewrite <- S; exact WS). auto.
  - destruct (fits _ _); [| reflexivity]. eexists. split; [reflexivity |].
    cbn [ev]. rewrite S, N.land_lor_distr_l, (land_fits (status r)) by apply R. auto.
  - reflexivity.
  - reflexivity.
  - exfalso. unfold decode in K. rewrite Z in K. cbn [andb negb] in K.
    repeat match type of K with (match ?b with _ => _ end) = _ => destruct b; try discriminate K end.
Qed.

(** ** Printing

    For some geometries, every register that a write may be accepted by: the geometry (version, counters, their width, fixed
    counters, their width, TSX, full-width writes), the number written to, the values that are accepted, the number
    of the hardware's register, its value. *)
Definition geometries : list geometry :=
  let g v n w x f t c :=
    {| version := v; gp_count := n; gp_width := w; fx_map := x; fx_width := f; in_tx := t; p6 := true; caps := c |} in
  [g 5 8%nat 48 15 48 false 0x2000; g 4 4%nat 40 7 32 true 0; g 2 2%nat 64 1 48 false 0x2000;
   g 1 2%nat 32 0 48 true 0x2000; g 5 2%nat 48 13 48 false 0x2000].   (** the last without fixed-function counter 1 *)
Open Scope string_scope.
Definition print_geometry (g : geometry) : string :=
  String.concat " " (map dec [version g; N.of_nat (gp_count g); gp_width g; fx_map g; fx_width g;
                              N.b2n (in_tx g); N.b2n (N.testbit (caps g) FW_WRITES)]).
Definition steps (g : geometry) : list (string * (string * (string * (string * string)))) :=
  flat_map (fun n => let m := N.of_nat n in
    match step_term g m with
    | Some (c, t, e) => [(print_geometry g, (dec m, (print_cond c, (dec (number t), print e))))]
    | None => []
    end) (seq 0 (2 * 1024)).
Set Printing Width 1000000.
Eval vm_compute in flat_map steps geometries.
