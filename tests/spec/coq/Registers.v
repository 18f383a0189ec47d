(** * Facts about one VM's registers: accesses and counting keep them well-formed, and commute with loading. *)
From Coq Require Import Arith NArith List Bool Lia.
From Vpmu Require Import Arch Policy Machine Bits.
Import ListNotations.
Open Scope N_scope.

Record wf (g : geometry) (r : regs) : Prop := {
  wf_sel_len : length (sel r) = gp_count g;
  wf_pmc_len : length (pmc r) = gp_count g;
  wf_fxc_len : length (fxc r) = fx_count g;
  wf_sel : all_i (fun i x => fits x (sel_mask g i)) 0 (sel r) = true;
  wf_fctrl : fits (fctrl r) (fctrl_mask g) = true;
  wf_gctrl : fits (gctrl r) (counter_bits g) = true;
  wf_status : fits (status r) (counter_bits g) = true;
  wf_v1 : (2 <=? version g) || (gctrl r =? gp_bits g) = true;
  wf_pmc : forallb (fun x => fits x (ones (gp_width g))) (pmc r) = true;
  wf_fxc : forallb (fun x => fits x (ones (fx_width g))) (fxc r) = true
}.
Lemma regs_ok_wf g r : regs_ok g r = true <-> wf g r.
Proof.
  unfold regs_ok. rewrite !andb_true_iff, !Nat.eqb_eq. split; [intros; constructor | intros []]; intuition.
Qed.

Lemma snapshot_ok_wf g r : snapshot_ok g r = true -> wf g r.
Proof. unfold snapshot_ok. rewrite andb_true_iff. intros (A & _). apply regs_ok_wf, A. Qed.

Lemma forallb_repeat (f : N -> bool) x n : f x = true -> forallb f (repeat x n) = true.
Proof. intros E. induction n; simpl; rewrite ?E; auto. Qed.
Lemma reset_wf g : wf g (reset g).
Proof.
  constructor; simpl; rewrite ?repeat_length; auto using fits_0, forallb_repeat.
  - apply all_i_spec. intros i _. rewrite rd_repeat0. apply fits_0.
  - apply fits_lor_l, fits_self.
  - rewrite N.eqb_refl. apply orb_true_r.
Qed.

(** ** Accesses *)
Lemma decode_version g m : decode g m = Some GCtrl -> 2 <=? version g = true.
Proof.
  unfold decode. intros E.
  destruct (index m 0x186 (gp_count g)); [discriminate E |].
  destruct (index m 0xC1 (gp_count g)); [discriminate E |].
  destruct (index m 0x4C1 (gp_count g)); [destruct (N.testbit _ _); discriminate E |].
  destruct (index m 0x309 (fx_count g)); [discriminate E |].
  destruct (_ && _); [discriminate E |]. destruct (_ && _ && _); [discriminate E |].
  destruct (N.ltb_spec (version g) 2); [discriminate E |]. apply N.leb_le. auto.
Qed.
Lemma write_wf g r m k x r' : wf g r -> decode g m = Some k -> write g r k x = Some r' -> wf g r'.
Proof.
  intros W K E.
  destruct k; simpl in E; try discriminate E;
    repeat match type of E with (if ?b then _ else _) = _ => let B := fresh "B" in destruct b eqn:B; [| discriminate E] end;
    injection E as <-; try assumption; destruct W; constructor; simpl; rewrite ?upd_length;
    auto using upd_forallb, fits_land, fits_lor, fits_ldiff.
  - apply upd_all_i; auto.
  - rewrite (decode_version g m K). reflexivity.
Qed.
Lemma access_wf g r a : wf g r -> wf g (fst (do_access g r a)).
Proof.
  intros W. destruct a as [m | m x | ]; simpl; auto.
  destruct (decode g m) as [k |] eqn:D; simpl; auto.
  destruct (fits x (ones 64)); simpl; auto.
  destruct (write g r k x) eqn:E; simpl; auto. eapply write_wf; eauto.
Qed.
Lemma access_done g r a : snd (do_access g r a) <> Done -> fst (do_access g r a) = r.
Proof.
  destruct a as [m | m x | ]; simpl; auto.
  destruct (decode g m) as [k |]; simpl; auto.
  destruct (fits x (ones 64)); simpl; auto.
  destruct (write g r k x); simpl; congruence.
Qed.

(** ** Effective registers: enabled at most what the guest enabled *)
Lemma hw_sel_fits f x m : fits x m = true -> fits (hw_sel f x) m = true.
Proof. unfold hw_sel. destruct (permitted f x); auto using fits_clearbit. Qed.
Lemma hw_fctrl_fits f n x m : fits x m = true -> fits (hw_fctrl f n x) m = true.
Proof. rewrite !fits_spec. intros A j. rewrite hw_fctrl_spec, !andb_true_iff. intuition. Qed.
Lemma hw_fctrl_beyond f n x i : (n <= i)%nat -> field (hw_fctrl f n x) i = 0.
Proof.
  intros L. apply N.bits_inj. intro j. rewrite field_spec, hw_fctrl_spec, N.bits_0.
  destruct (N.ltb_spec (j + 4 * N.of_nat i) (4 * N.of_nat n)); [lia |]. rewrite andb_false_r. reflexivity.
Qed.

(** ** Counting *)
Lemma add_length en w : forall cs i ns, length (add en w i cs ns) = length cs.
Proof. induction cs; simpl; intros; auto. Qed.
Lemma add_forallb en w : forall cs i ns,
  forallb (fun x => fits x (ones w)) cs = true -> forallb (fun x => fits x (ones w)) (add en w i cs ns) = true.
Proof.
  induction cs; simpl; intros i ns A; auto. apply andb_true_iff in A as (A1 & A2).
  rewrite IHcs by auto. destruct (en i); rewrite ?fits_land, ?A1; auto.
Qed.
Lemma wraps_spec en w b : forall cs i ns j,
  N.testbit (wraps en w b i cs ns) j = true -> b + N.of_nat i <= j < b + N.of_nat (i + length cs).
Proof.
  induction cs; simpl; intros i ns j; [rewrite N.bits_0; discriminate |].
  rewrite N.lor_spec, bit_spec, orb_true_iff, andb_true_iff, N.eqb_eq. intros [(_ & <-) | A]; [lia |].
  apply IHcs in A. lia.
Qed.
Lemma gp_bits_spec g j : N.testbit (gp_bits g) j = (j <? N.of_nat (gp_count g)).
Proof.
  unfold gp_bits, ones. destruct (N.ltb_spec j (N.of_nat (gp_count g)));
  [apply N.ones_spec_low | apply N.ones_spec_high]; auto.
Qed.
Lemma fx_bits_spec n j :
  N.testbit (N.shiftl (ones n) 32) j = (32 <=? j) && (j <? 32 + n).
Proof.
  unfold ones. destruct (N.leb_spec 32 j).
  - rewrite N.shiftl_spec_high' by auto. cbn [andb]. destruct (N.ltb_spec j (32 + n));
    [apply N.ones_spec_low | apply N.ones_spec_high]; lia.
  - rewrite N.shiftl_spec_low by auto. reflexivity.
Qed.
Lemma counter_bits_spec g j :
  N.testbit (counter_bits g) j
  = (j <? N.of_nat (gp_count g)) || ((32 <=? j) && (j <? 32 + N.of_nat (fx_count g))).
Proof. unfold counter_bits. rewrite N.lor_spec, gp_bits_spec, fx_bits_spec. reflexivity. Qed.
Lemma wraps_fits g en1 w1 cs1 ns1 en2 w2 cs2 ns2 :
  length cs1 = gp_count g -> length cs2 = fx_count g ->
  fits (N.lor (wraps en1 w1 0 0 cs1 ns1) (wraps en2 w2 32 0 cs2 ns2)) (counter_bits g) = true.
Proof.
  intros L1 L2. apply fits_spec. intros j. rewrite N.lor_spec, orb_true_iff, counter_bits_spec.
  intros [A | A]; apply wraps_spec in A; apply orb_true_iff; [left | right];
    rewrite ?andb_true_iff, ?N.leb_le, ?N.ltb_lt; lia.
Qed.
Lemma counted_wf g f r gps fxs : wf g r -> wf g (fst (counted g f r gps fxs)).
Proof.
  intros []. constructor; simpl; rewrite ?add_length; auto using add_forallb.
  apply fits_lor; auto using wraps_fits.
Qed.

(** ** Loading commutes with counting and with data accesses *)
Lemma add_pad en w : forall cs i ns k, (forall j, (i + length cs <= j)%nat -> en j = false) ->
  add en w i (cs ++ repeat 0 k) ns = add en w i cs ns ++ repeat 0 k.
Proof.
  induction cs; simpl; intros i ns k E.
  - revert i ns E. induction k; simpl; intros i ns E; auto. rewrite E by lia. f_equal. apply IHk. intros. apply E. lia.
  - f_equal. apply IHcs. intros. apply E. lia.
Qed.
Lemma wraps_pad en w b : forall cs i ns k, (forall j, (i + length cs <= j)%nat -> en j = false) ->
  wraps en w b i (cs ++ repeat 0 k) ns = wraps en w b i cs ns.
Proof.
  induction cs; simpl; intros i ns k E.
  - revert i ns E. induction k; simpl; intros i ns E; auto. rewrite E by lia. simpl.
    apply IHk. intros. apply E. lia.
  - f_equal. apply IHcs. intros. apply E. lia.
Qed.
Lemma wraps_int_pad en int w : forall cs i ns k, (forall j, (i + length cs <= j)%nat -> en j = false) ->
  wraps_int en int w i (cs ++ repeat 0 k) ns = wraps_int en int w i cs ns.
Proof.
  induction cs; simpl; intros i ns k E.
  - revert i ns E. induction k; simpl; intros i ns E; auto. rewrite E by lia. simpl. apply IHk. intros. apply E. lia.
  - f_equal. apply IHcs. intros. apply E. lia.
Qed.
(** Counting depends on the enables pointwise. *)
Lemma add_ext e1 e2 w : (forall i, e1 i = e2 i) -> forall cs i ns, add e1 w i cs ns = add e2 w i cs ns.
Proof. intros E. induction cs; simpl; intros; auto. rewrite E, IHcs. auto. Qed.
Lemma wraps_ext e1 e2 w b : (forall i, e1 i = e2 i) -> forall cs i ns, wraps e1 w b i cs ns = wraps e2 w b i cs ns.
Proof. intros E. induction cs; simpl; intros; auto. rewrite E, IHcs. auto. Qed.
Lemma wraps_int_ext e1 e2 n1 n2 w : (forall i, e1 i = e2 i) -> (forall i, n1 i = n2 i) ->
  forall cs i ns, wraps_int e1 n1 w i cs ns = wraps_int e2 n2 w i cs ns.
Proof. intros E N. induction cs; simpl; intros; auto. rewrite E, N, IHcs. auto. Qed.

Section Load.
Variable H : geometry.
Lemma count_spread g f r gps fxs :
  wf g r -> gp_width g = gp_width H -> fx_width g = fx_width H ->
  count H (spread H (effective g f r)) gps fxs
  = (spread H (fst (count g (effective g f r) gps fxs)), snd (count g (effective g f r) gps fxs)).
Proof.
  intros [] W1 W2. unfold count.
  assert (EG : forall i, gp_enabled (spread H (effective g f r)) i = gp_enabled (effective g f r) i)
    by (intros; unfold gp_enabled; simpl; rewrite rd_pad; auto).
  assert (NG : forall i, gp_int (spread H (effective g f r)) i = gp_int (effective g f r) i)
    by (intros; unfold gp_int; simpl; rewrite rd_pad; auto).
  assert (EF : forall i, fx_enabled (spread H (effective g f r)) i = fx_enabled (effective g f r) i) by reflexivity.
  assert (NF : forall i, fx_int (spread H (effective g f r)) i = fx_int (effective g f r) i) by reflexivity.
  assert (ZG : forall j, (0 + length (pmc r) <= j)%nat -> gp_enabled (effective g f r) j = false).
  { intros j J. unfold gp_enabled. simpl. rewrite rd_overflow by (rewrite map_length; lia).
    rewrite N.bits_0, andb_false_r. auto. }
  assert (ZF : forall j, (0 + length (fxc r) <= j)%nat -> fx_enabled (effective g f r) j = false).
  { intros j J. unfold fx_enabled. simpl. rewrite hw_fctrl_beyond by lia. rewrite N.land_0_l, andb_false_r. auto. }
  rewrite <- W1, <- W2. cbn [fst snd pmc fxc]. f_equal.
  - unfold spread at 7. cbn [sel fctrl gctrl status pmc fxc].
    rewrite (wraps_ext _ _ _ _ EG), (wraps_ext _ _ _ _ EF), (add_ext _ _ _ EG), (add_ext _ _ _ EF).
    unfold spread, effective at 1 2 3 4; cbn [sel fctrl gctrl status pmc fxc].
    unfold pad. rewrite !wraps_pad, !add_pad, !add_length by auto. reflexivity.
  - rewrite (wraps_int_ext _ _ _ _ _ EG NG), (wraps_int_ext _ _ _ _ _ EF NF).
    unfold spread, effective at 1 2; cbn [sel fctrl gctrl status pmc fxc].
    unfold pad. rewrite !wraps_int_pad by auto. reflexivity.
Qed.

(** Where the data registers are the same, the hardware answers a data access as the policy domain would. *)
Lemma spread_id g f r : same_data H g -> wf g r -> spread H (effective g f r) = effective g f r.
Proof.
  intros (GC & _ & FC & _) []. unfold spread, effective. simpl. rewrite <- GC, <- FC.
  rewrite <- wf_sel_len0 at 1. rewrite <- (map_length (hw_sel f)), pad_id.
  rewrite <- wf_pmc_len0, pad_id. rewrite <- wf_fxc_len0 at 2. rewrite pad_id. reflexivity.
Qed.
Definition data_reg (k : reg) : bool :=
  match k with Legacy _ | Full _ | Fixed _ | GStatus | GCtrl | GReset => true | _ => false end.
Lemma decode_same g m k : same_data H g -> decode H m = Some k -> data_reg k = true -> decode g m = Some k.
Proof.
  intros (GC & _ & FC & _ & VG & VH & FW) E D. unfold decode in *. rewrite GC, FC, FW.
  replace (version H <? 2) with false in E by (symmetry; apply N.ltb_ge; auto).
  replace (version g <? 2) with false by (symmetry; apply N.ltb_ge; auto).
  replace (version H =? 0) with false in E by (symmetry; apply N.eqb_neq; lia).
  replace (version g =? 0) with false by (symmetry; apply N.eqb_neq; lia).
  cbn [negb orb andb] in *. rewrite andb_true_r in *.
  repeat match type of E with
         | match ?b with _ => _ end = _ => destruct b; auto; try discriminate E; try (injection E as <-; discriminate D)
         end.
Qed.
Lemma access_effective g f r a : same_data H g -> data_access H a = true ->
  do_access H (effective g f r) a = (effective g f (fst (do_access g r a)), snd (do_access g r a)).
Proof.
  intros S. pose proof S as (GC & GW & FC & FW & _ & _ & _).
  assert (CB : counter_bits H = counter_bits g) by (unfold counter_bits, gp_bits; rewrite GC, FC; reflexivity).
  destruct a as [m | m x | ecx cpl pe pce]; simpl.
  - destruct (decode H m) as [k |] eqn:D; [| discriminate]. intros K. rewrite (decode_same g m k S D) by (destruct k; auto).
    destruct k; try discriminate K; reflexivity.
  - destruct (decode H m) as [k |] eqn:D; [| discriminate]. intros K. rewrite (decode_same g m k S D) by (destruct k; auto).
    destruct (fits x (ones 64)); auto. unfold write, status_mask. rewrite CB, <- GW, <- FW.
    destruct k; try discriminate K; simpl;
    repeat match goal with |- context [if ?b then _ else _] => destruct b end; auto.
  - intros _. unfold rdpmc. rewrite GC, FC. reflexivity.
Qed.
Lemma access_controls g r a : same_data H g -> data_access H a = true ->
  sel (fst (do_access g r a)) = sel r /\ fctrl (fst (do_access g r a)) = fctrl r.
Proof.
  intros S. destruct a as [m | m x | ]; simpl; auto.
  destruct (decode H m) as [k |] eqn:D; [| discriminate]. intros K. rewrite (decode_same g m k S D) by (destruct k; auto).
  destruct (fits x (ones 64)); auto.
  destruct k; try discriminate K; simpl;
  repeat match goal with |- context [if ?b then _ else _] => destruct b end; auto.
Qed.
End Load.
