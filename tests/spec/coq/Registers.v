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
  wf_fxc : all_i (fun i x => fits x (fx_mask g i)) 0 (fxc r) = true
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
  - apply all_i_spec. intros i _. rewrite rd_repeat0. apply fits_0.
Qed.

(** ** Accesses *)
Lemma decode_version g m : decode g m = Some GCtrl -> 2 <=? version g = true.
Proof.
  unfold decode. intros E.
  destruct (index m 0x186 (gp_count g)); [discriminate E |].
  destruct (index m 0xC1 (gp_count g)); [discriminate E |].
  destruct (index m 0x4C1 (gp_count g)); [destruct (N.testbit _ _); discriminate E |].
  destruct (index m 0x309 (fx_count g)); [destruct (has_fixed _ _); discriminate E |].
  destruct (_ && _); [discriminate E |]. destruct (_ && _ && _); [discriminate E |].
  destruct (N.ltb_spec (version g) 2); [discriminate E |]. apply N.leb_le. auto.
Qed.
Lemma decode_fixed g m i : decode g m = Some (Fixed i) -> has_fixed g i = true.
Proof.
  unfold decode. intros E.
  destruct (index m 0x186 (gp_count g)); [discriminate E |].
  destruct (index m 0xC1 (gp_count g)); [discriminate E |].
  destruct (index m 0x4C1 (gp_count g)); [destruct (N.testbit _ _); discriminate E |].
  destruct (index m 0x309 (fx_count g)) as [k |].
  - destruct (has_fixed g k) eqn:F; [| discriminate E]. injection E as <-. exact F.
  - repeat match type of E with (if ?b then _ else _) = _ => destruct b end; discriminate E.
Qed.
Lemma write_wf g r m k x r' : wf g r -> decode g m = Some k -> write g r k x = Some r' -> wf g r'.
Proof.
  intros W K E.
  destruct k; simpl in E; try discriminate E;
    repeat match type of E with (if ?b then _ else _) = _ => let B := fresh "B" in destruct b eqn:B; [| discriminate E] end;
    injection E as <-; try assumption; destruct W; constructor; simpl; rewrite ?upd_length;
    auto using upd_forallb, fits_land, fits_lor, fits_ldiff.
  - apply upd_all_i; auto.
  - apply upd_all_i; auto. unfold fx_mask. rewrite (decode_fixed g m i K). apply fits_land.
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
  N.testbit (wraps en w b i cs ns) j = true -> exists k, en k = true /\ j = b + N.of_nat k.
Proof.
  induction cs; simpl; intros i ns j; [rewrite N.bits_0; discriminate |].
  rewrite N.lor_spec, bit_spec, orb_true_iff, andb_true_iff, N.eqb_eq.
  intros [(E & <-) | A]; [| eauto]. exists i. apply andb_true_iff in E as (E & _). auto.
Qed.
Lemma gp_bits_spec g j : N.testbit (gp_bits g) j = (j <? N.of_nat (gp_count g)).
Proof.
  unfold gp_bits, ones. destruct (N.ltb_spec j (N.of_nat (gp_count g)));
  [apply N.ones_spec_low | apply N.ones_spec_high]; auto.
Qed.
Lemma fx_bits_spec b j : N.testbit (N.shiftl b 32) j = (32 <=? j) && N.testbit b (j - 32).
Proof.
  destruct (N.leb_spec 32 j); [apply N.shiftl_spec_high'; auto | apply N.shiftl_spec_low; auto].
Qed.
Lemma counter_bits_spec g j :
  N.testbit (counter_bits g) j
  = (j <? N.of_nat (gp_count g)) || ((32 <=? j) && N.testbit (fx_map g) (j - 32)).
Proof. unfold counter_bits. rewrite N.lor_spec, gp_bits_spec, fx_bits_spec. reflexivity. Qed.
(** What is counted stays within the geometry: a counter that counts has its bit in GLOBAL_CTRL, and its field. *)
Lemma wraps_fits r m ns1 ns2 w1 w2 : fits (gctrl r) m = true ->
  fits (N.lor (wraps (gp_enabled r) w1 0 0 (pmc r) ns1) (wraps (fx_enabled r) w2 32 0 (fxc r) ns2)) m = true.
Proof.
  rewrite !fits_spec. intros F j. rewrite N.lor_spec, orb_true_iff.
  intros [A | A]; apply wraps_spec in A as (k & E & ->); unfold gp_enabled, fx_enabled in E;
    apply andb_true_iff in E as (E & _); apply F; auto.
Qed.
Lemma fctrl_mask_spec b n : forall j, N.testbit (fctrl_mask_n b n) j = true -> N.testbit b (j / 4) = true.
Proof.
  induction n as [| n IH]; cbn [fctrl_mask_n]; intros j; [rewrite N.bits_0; discriminate |].
  rewrite N.lor_spec, orb_true_iff. intros [A | A]; [auto |].
  destruct (N.testbit b (N.of_nat n)) eqn:B; [| rewrite N.bits_0 in A; discriminate A].
  destruct (N.lt_ge_cases j (4 * N.of_nat n)) as [L | L]; [rewrite N.shiftl_spec_low in A by auto; discriminate A |].
  rewrite N.shiftl_spec_high' in A by auto.
  assert (S : j - 4 * N.of_nat n < 4).
  { apply N.nle_gt. intros G. rewrite (N.bits_above_log2 0xB) in A; [discriminate A |].
    apply N.lt_le_trans with 4; [reflexivity | exact G]. }
  replace (j / 4) with (N.of_nat n); auto. apply (N.div_unique j 4 _ (j - 4 * N.of_nat n)); lia.
Qed.
Lemma fctrl_mask_lt b n : forall j, N.testbit (fctrl_mask_n b n) j = true -> j < 4 * N.of_nat n.
Proof.
  induction n as [| n IH]; cbn [fctrl_mask_n]; intros j; [rewrite N.bits_0; discriminate |].
  rewrite N.lor_spec, orb_true_iff. intros [A | A]; [apply IH in A; lia |].
  destruct (N.testbit b (N.of_nat n)); [| rewrite N.bits_0 in A; discriminate A].
  destruct (N.lt_ge_cases j (4 * N.of_nat n)) as [L | L]; [lia |].
  rewrite N.shiftl_spec_high' in A by auto. apply N.nle_gt. intros G.
  rewrite (N.bits_above_log2 0xB) in A; [discriminate A |]. apply N.lt_le_trans with 4; [reflexivity | lia].
Qed.
Lemma fctrl_mask_any_thread b n k : N.testbit (fctrl_mask_n b n) (2 + 4 * k) = false.
Proof.
  induction n as [| n IH]; cbn [fctrl_mask_n]; [apply N.bits_0 |]. rewrite N.lor_spec, IH.
  destruct (N.testbit b (N.of_nat n)); [| apply N.bits_0].
  destruct (N.lt_ge_cases (2 + 4 * k) (4 * N.of_nat n)) as [L | L]; [rewrite N.shiftl_spec_low by auto; reflexivity |].
  rewrite N.shiftl_spec_high' by auto. destruct (N.eq_dec k (N.of_nat n)) as [-> | D].
  - replace (2 + 4 * N.of_nat n - 4 * N.of_nat n) with 2 by lia. reflexivity.
  - apply N.bits_above_log2. apply N.lt_le_trans with 4; [reflexivity | lia].
Qed.
Lemma fx_enabled_has g r i : fits (fctrl r) (fctrl_mask g) = true -> fx_enabled r i = true -> has_fixed g i = true.
Proof.
  intros F E. apply andb_true_iff in E as (_ & E). apply negb_true_iff, N.eqb_neq in E.
  destruct (has_fixed g i) eqn:X; auto. exfalso. apply E. apply N.bits_inj. intro j.
  rewrite N.land_spec, field_spec, N.bits_0.
  destruct (N.testbit (fctrl r) (j + 4 * N.of_nat i)) eqn:B; auto.
  destruct (N.ltb_spec j 4) as [L | L]; [| rewrite andb_false_r; auto].
  rewrite fits_spec in F. apply F, fctrl_mask_spec in B.
  replace ((j + 4 * N.of_nat i) / 4) with (N.of_nat i) in B by (apply (N.div_unique _ 4 _ j); lia).
  unfold has_fixed in X. congruence.
Qed.
Lemma add_all_i en w (mask : nat -> N) : (forall i, en i = true -> mask i = ones w) -> forall cs i ns,
  all_i (fun i x => fits x (mask i)) i cs = true -> all_i (fun i x => fits x (mask i)) i (add en w i cs ns) = true.
Proof.
  intros M. induction cs; simpl; intros i ns A; auto. apply andb_true_iff in A as (A1 & A2).
  rewrite IHcs by auto. destruct (en i) eqn:E; rewrite ?A1; auto. rewrite M, fits_land by auto. reflexivity.
Qed.
Lemma counted_wf g f r gps fxs : wf g r -> wf g (fst (counted g f r gps fxs)).
Proof.
  intros []. constructor; simpl; rewrite ?add_length; auto using add_forallb.
  - apply fits_lor; auto. apply (wraps_fits (effective g f r)). auto.
  - apply add_all_i; auto. intros i E. unfold fx_mask. rewrite (fx_enabled_has g _ i) with (2 := E); auto.
    apply hw_fctrl_fits. auto.
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

Lemma same_fixed g : fx_map g = fx_map H -> fx_count g = fx_count H /\ has_fixed g = has_fixed H.
Proof. intros E. unfold fx_count, has_fixed. rewrite E. auto. Qed.
(** Where the data registers are the same, the hardware answers a data access as the policy domain would. *)
Lemma spread_id g f r : same_data H g -> wf g r -> spread H (effective g f r) = effective g f r.
Proof.
  intros (GC & _ & FC & _) []. apply same_fixed in FC as (FC & _). unfold spread, effective. simpl. rewrite <- GC, <- FC.
  rewrite <- wf_sel_len0 at 1. rewrite <- (map_length (hw_sel f)), pad_id.
  rewrite <- wf_pmc_len0, pad_id. rewrite <- wf_fxc_len0 at 2. rewrite pad_id. reflexivity.
Qed.
Definition data_reg (k : reg) : bool :=
  match k with Legacy _ | Full _ | Fixed _ | GStatus | GCtrl | GReset | Sel _ | FixedCtrl => true | _ => false end.
Lemma decode_same g m k : same_data H g -> decode H m = Some k -> data_reg k = true -> decode g m = Some k.
Proof.
  intros (GC & _ & FC & _ & VG & VH & FW) E D. apply same_fixed in FC as (FC & FX).
  unfold decode in *. rewrite GC, FC, FX, FW.
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
  - intros _. apply same_fixed in FC as (FC & FX). unfold rdpmc. rewrite GC, FC, FX. reflexivity.
Qed.
(** In passthrough all of it is the guest's. *)
Lemma effective_raw g f r : passthrough f = true -> wf g r -> effective g f r = r.
Proof.
  intros P []. unfold effective. destruct r as [s c gc st pm fx]; cbn in *. f_equal.
  - rewrite <- map_id. apply map_ext. intros x. unfold hw_sel, permitted. rewrite P. reflexivity.
  - apply N.bits_inj. intro j. rewrite hw_fctrl_spec. unfold fixed_permitted. rewrite P, andb_true_r.
    destruct (N.testbit c j) eqn:B; auto. cbn [andb]. apply N.ltb_lt.
    rewrite fits_spec in wf_fctrl0. apply wf_fctrl0 in B. apply fctrl_mask_lt in B. exact B.
Qed.
Lemma access_control g r a : same_control H g -> control_access H a = true -> do_access H r a = do_access g r a.
Proof.
  intros (S & T & V4) A. pose proof S as (GC & _ & FC & _ & VG & VH & _).
  assert (CB : counter_bits H = counter_bits g) by (unfold counter_bits, gp_bits; rewrite GC, FC; reflexivity).
  assert (FM : fctrl_mask H = fctrl_mask g) by (unfold fctrl_mask, fx_count; rewrite FC; reflexivity).
  assert (SM : sel_mask H = sel_mask g) by (unfold sel_mask; rewrite T; reflexivity).
  assert (D : forall m k, decode H m = Some k -> match k with Sel _ | FixedCtrl | GSet => true | _ => false end = true ->
    decode g m = Some k).
  { intros m k K E. destruct k; try discriminate E; [apply decode_same; auto .. |].
    apply same_fixed in FC as (FN & FX). unfold decode in *. rewrite GC, FN, FX.
    destruct S as (_ & _ & _ & _ & _ & _ & FW). rewrite FW.
    replace (version H <? 2) with false in K by (symmetry; apply N.ltb_ge; auto).
    replace (version g <? 2) with false by (symmetry; apply N.ltb_ge; auto).
    replace (version H =? 0) with false in K by (symmetry; apply N.eqb_neq; lia).
    replace (version g =? 0) with false by (symmetry; apply N.eqb_neq; lia).
    replace (version g <? 4) with (version H <? 4) by (rewrite !N.ltb_antisym, V4; reflexivity).
    cbn [negb orb andb] in *. rewrite andb_true_r in *.
    repeat match type of K with match ?b with _ => _ end = _ => destruct b; auto; try discriminate K end. }
  destruct a as [m | m x |]; [| | discriminate A]; simpl in *;
    destruct (decode H m) as [k |] eqn:K; try discriminate A; rewrite (D m k K) by (destruct k; auto);
    destruct k; try discriminate A; cbn [read write]; unfold status_mask; rewrite ?SM, ?FM, ?CB; reflexivity.
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
