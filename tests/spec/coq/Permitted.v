(** * Theorems: nothing counts unless its guest runs, and only what the policy permits. *)
From Coq Require Import Arith NArith List Bool Lia.
From Vpmu Require Import Arch Policy Machine Bits Registers Invariant Approved Local.
Import ListNotations.
Open Scope N_scope.

Section Permitted.
Variable H : geometry.

(** [reached cs s]: the machine with the VMs [cs] gets into state [s] by some sequence of operations: guests'
    accesses, counting, switches, policy changes, restores, in any order. *)
Definition reached (cs : list config) (s : machine) : Prop :=
  Forall (config_ok H) cs /\ exists os xs, run H (init H cs) os = Some (s, xs).

Lemma inv_init cs : Forall (config_ok H) cs -> inv H (init H cs).
Proof.
  intros F.
  assert (E : forall v, valid (init H cs) v -> exists c, In c cs /\ get (init H cs) v = boot c).
  { intros v V. unfold valid, init in V; cbn in V. rewrite map_length in V.
    destruct (nth_error cs v) as [c |] eqn:N.
    - exists c. split; [eapply nth_error_In; eauto |]. unfold get, init; cbn [vms].
      apply nth_error_nth. rewrite nth_error_map, N. reflexivity.
    - apply nth_error_None in N. lia. }
  rewrite Forall_forall in F. constructor; try (cbn; auto; congruence).
  - intros v V. destruct (E v V) as (c & I & ->). destruct (F c I) as (A & B & C & D & _ & G & P).
    do 5 (split; [assumption |]). split; [constructor | exact P].
  - intros v V. unfold view. cbn [owner init is]. destruct (E v V) as (c & _ & ->). apply reset_wf.
Qed.
Lemma inv_run os : forall s t xs, inv H s -> run H s os = Some (t, xs) -> inv H t /\ length (vms t) = length (vms s).
Proof.
  induction os as [| o os IH]; simpl; intros s t xs I E; [injection E as <- _; auto |].
  destruct (step H s o) as [(s', x) |] eqn:S; [| discriminate E].
  destruct (run H s' os) as [(u, ys) |] eqn:R; [| discriminate E]. injection E as <- _.
  destruct (simulation H s o s' x I S) as (I' & L & _). destruct (IH _ _ _ I' R). split; congruence.
Qed.
Lemma inv_reached cs s : reached cs s -> inv H s.
Proof. intros (F & os & xs & R). eapply inv_run; eauto using inv_init. Qed.

(** ** Host quiet: no counter is enabled unless its guest runs *)
Theorem host_quiet cs s : reached cs s -> cur s = None ->
  gctrl (hw s) = 0 /\ (forall i, gp_enabled (hw s) i = false) /\ (forall i, fx_enabled (hw s) i = false).
Proof.
  intros R C. apply inv_reached in R. pose proof (inv_hw _ _ R) as E.
  assert (Z : gctrl (hw s) = 0).
  { destruct (owner s); [destruct E as (_ & ->); rewrite C | destruct E as (-> & _)]; reflexivity. }
  split; auto. unfold gp_enabled, fx_enabled. rewrite Z. split; intros; rewrite N.bits_0; reflexivity.
Qed.
(** VM entry is one operation, but [switched] is a state inside it: another VM's registers have been put away, its own are not
    loaded yet. Then the hardware holds nothing at all, counters and status included. *)
Theorem switch_quiet cs s v : reached cs s -> cur s = None -> is (owner s) v = false -> hw (switched H s v) = off H.
Proof.
  intros R C O. apply inv_reached in R. pose proof (inv_hw _ _ R) as E. unfold switched, evict. rewrite O.
  destruct (owner s); [reflexivity | apply E].
Qed.
(** While a guest runs, the counters that count are its own: it has them, it enabled them. *)
Theorem counters_of_the_guest cs s v : reached cs s -> cur s = Some v ->
  owner s = Some v
  /\ (forall i, gp_enabled (hw s) i = true -> (i < gp_count (geo (get s v)))%nat /\ gp_enabled (view s v) i = true)
  /\ (forall i, fx_enabled (hw s) i = true -> has_fixed (geo (get s v)) i = true /\ fx_enabled (view s v) i = true).
Proof.
  intros R C. apply inv_reached in R. split; [apply (inv_cur _ _ R); auto |].
  destruct (hw_running H s v R C) as (V & ->). destruct (inv_regs _ _ R v V).
  unfold gp_enabled, fx_enabled. simpl. split; intros i; rewrite andb_true_iff; intros (G & E).
  - rewrite rd_pad in E. destruct (Nat.lt_ge_cases i (length (sel (view s v)))) as [L | L].
    + split; [lia |]. rewrite G. rewrite rd_map in E by auto. unfold hw_sel in E.
      destruct (permitted _ _); auto. rewrite N.clearbit_eq in E. discriminate E.
    + rewrite rd_overflow in E by (rewrite map_length; auto). rewrite N.bits_0 in E. discriminate E.
  - destruct (Nat.lt_ge_cases i (fx_count (geo (get s v)))) as [L | L].
    + split.
      { apply (fx_enabled_has _ (effective (geo (get s v)) (pol (get s v)) (view s v))).
        - apply hw_fctrl_fits. auto.
        - unfold fx_enabled. simpl. rewrite G, E. reflexivity. }
      rewrite G. cbn [andb]. rewrite negb_true_iff, N.eqb_neq in *. intros Z. apply E.
      apply N.bits_inj. intro j. rewrite N.bits_0, N.land_spec, field_spec, hw_fctrl_spec.
      assert (B : N.testbit (N.land (field (fctrl (view s v)) i) 3) j = false) by (rewrite Z; apply N.bits_0).
      rewrite N.land_spec, field_spec in B.
      destruct (N.testbit (fctrl (view s v)) _), (j <? 4), (N.testbit 3 j); cbn in *; rewrite ?andb_false_r; auto; discriminate B.
    + rewrite hw_fctrl_beyond in E by auto. rewrite N.land_0_l in E. discriminate E.
Qed.

(** ** Only what the policy permits reaches a hardware control register *)
Theorem only_permitted cs s : reached cs s ->
  match owner s with
  | None => (forall i, rd (sel (hw s)) i = 0) /\ fctrl (hw s) = 0 /\ gctrl (hw s) = 0
  | Some v =>
      let f := pol (get s v) in let g := geo (get s v) in
      (forall i, let x := rd (sel (hw s)) i in
         fits x (sel_mask g i) = true /\ (N.testbit x EN = true -> permitted f x = true))
      /\ fits (fctrl (hw s)) (fctrl_mask g) = true
      /\ (forall i, field (fctrl (hw s)) i <> 0 -> fixed_permitted f i = true)
      /\ fits (gctrl (hw s)) (counter_bits g) = true
  end.
Proof.
  intros R. apply inv_reached in R. pose proof (inv_hw _ _ R) as E.
  destruct (owner s) as [v |].
  - destruct E as (V & ->). destruct (inv_regs _ _ R v V). cbn zeta.
    split; [| split; [| split]].
    + intros i. simpl. rewrite rd_pad.
      destruct (Nat.lt_ge_cases i (length (sel (view s v)))) as [L | L].
      * rewrite rd_map by auto. rewrite all_i_spec in wf_sel.
        split; [apply hw_sel_fits, (wf_sel i L) |]. unfold hw_sel.
        destruct (permitted _ _) eqn:P; auto. rewrite N.clearbit_eq. discriminate.
      * rewrite rd_overflow by (rewrite map_length; auto). split; [apply fits_0 |].
        rewrite N.bits_0. discriminate.
    + simpl. apply hw_fctrl_fits. auto.
    + intros i. simpl. intros Z. destruct (fixed_permitted (pol (get s v)) i) eqn:P; auto. exfalso. apply Z.
      apply N.bits_inj. intro j. rewrite field_spec, hw_fctrl_spec, N.bits_0.
      destruct (N.ltb_spec j 4) as [J | J]; rewrite ?andb_false_r; auto.
      replace ((j + 4 * N.of_nat i) / 4) with (N.of_nat i) by (apply (N.div_unique _ 4 _ j); lia).
      rewrite Nat2N.id, P, andb_false_r. reflexivity.
    + simpl. destruct (is (cur s) v); auto using fits_0.
  - destruct E as (-> & _). simpl. split; auto. intros i. rewrite rd_pad.
    unfold rd. destruct i; reflexivity.
Qed.
(** In particular: no AnyThread, no PEBS, nothing in a reserved bit, whatever a guest's TSX; and no AnyThread in
    FIXED_CTR_CTRL. *)
Corollary no_reserved_bit cs s i j : reached cs s ->
  j = 21 \/ 34 <= j -> N.testbit (rd (sel (hw s)) i) j = false.
Proof.
  intros R J. pose proof (only_permitted cs s R) as P.
  destruct (owner s) as [v |]; [| destruct P as (P & _); rewrite P; apply N.bits_0].
  destruct P as (P & _). destruct (P i) as (F & _). rewrite fits_spec in F. specialize (F j).
  destruct (N.testbit (rd (sel (hw s)) i) j); [| reflexivity]. specialize (F eq_refl).
  unfold sel_mask in F. rewrite !N.lor_spec, !bit_spec in F.
  replace (IN_TX =? j) with false in F by (symmetry; apply N.eqb_neq; unfold IN_TX; lia).
  replace (IN_TXCP =? j) with false in F by (symmetry; apply N.eqb_neq; unfold IN_TXCP; lia).
  rewrite !andb_false_r, !orb_false_r in F. destruct J as [-> | J]; [discriminate F |].
  rewrite N.bits_above_log2 in F; [discriminate F |]. exact (N.lt_le_trans _ _ _ (eq_refl : N.log2 0xFFDFFFFF < 34) J).
Qed.
Corollary no_any_thread cs s i : reached cs s -> N.testbit (field (fctrl (hw s)) i) 2 = false.
Proof.
  intros R. pose proof (only_permitted cs s R) as P. rewrite field_spec.
  destruct (owner s) as [v |]; [| destruct P as (_ & -> & _); rewrite N.bits_0; reflexivity].
  destruct P as (_ & F & _). rewrite fits_spec in F. specialize (F (2 + 4 * N.of_nat i)).
  change (2 <? 4) with true. rewrite andb_true_r.
  destruct (N.testbit (fctrl (hw s)) (2 + 4 * N.of_nat i)); [| reflexivity].
  specialize (F eq_refl). unfold fctrl_mask in F. rewrite fctrl_mask_any_thread in F. discriminate F.
Qed.

(** ** Approved pairs: each is what the present policy and geometry decide; that of an old policy never survives *)
Theorem approved_is_decided cs s v n x h : reached cs s -> valid s v -> In (n, x, h) (approved (get s v)) ->
  decide (geo (get s v)) (pol (get s v)) n x = Some h.
Proof.
  intros R V I. apply inv_reached in R. destruct (inv_vm _ _ R v V) as (_ & _ & _ & _ & _ & P & _).
  unfold pairs_ok in P. rewrite Forall_forall in P. exact (P _ I).
Qed.
(** After a change of policy no access is the kernel's to do, until the policy domain has decided about it anew. *)
Theorem withdrawn_pair_traps s v f a user t : step H s (SetPolicy v f) = Some (t, Silent) ->
  step H t (Approved v a user) = None.
Proof.
  cbn [step]. intros E. destruct (cur s); [discriminate E |]. destruct (Nat.ltb v (length (vms s))) eqn:V; [| discriminate E].
  destruct (mediated _ _ && _) in E; [| discriminate E]. injection E as <-. apply Nat.ltb_lt in V. unfold in_kernel.
  rewrite get_store_same by exact V. cbn [approved with_saved withdrawn with_approved].
  destruct a; [destruct (control_value _ _ _) | |]; reflexivity.
Qed.

End Permitted.

(** ** The VMs that the theorems speak of, as the oracle decides it *)
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
Theorem possible_ok H c : possible H c = true -> config_ok H c.
Proof.
  unfold possible, config_ok. rewrite !andb_true_iff, Nat.leb_le, !N.eqb_eq, !orb_true_iff, !negb_true_iff.
  intros ((((((A & B) & C) & D) & E) & F) & G). do 5 (split; [assumption |]). split; intros P.
  - destruct F as [F | F]; [congruence | apply same_datab_ok, F].
  - destruct G as [G | G]; [congruence |]. rewrite !andb_true_iff, !Bool.eqb_true_iff in G.
    destruct G as ((S & T) & V). split; [apply same_datab_ok, S | auto].
Qed.

(** Why a change of policy withdraws the pairs: where it left one in the table, the guest gets an event counted that its
    policy denies. *)
Section Stale.
Let small : geometry :=
  {| version := 4; gp_count := 1; gp_width := 48; fx_map := 0; fx_width := 48; in_tx := false; p6 := true; caps := 0 |}.
Let allow (es : list N) : filter := {| passthrough := false; deny := false; masked := false; entries := es; fixed_bitmap := 0 |}.
Let guest : config := {| c_geo := small; c_direct := false; c_pol := allow [0x00C0] |}.
Let counts : N := 0x4300C0.
Let before : list op := [Trap 0 (Wr 0x186 counts); Record 0 0x186 0; Trap 0 (Wr 0x186 0); Enter 0; Exit 0].
Theorem stale_pair_breaks : exists s t y,
  reached small [guest] s
  /\ step small (store small s 0 (with_pol (get s 0) (allow [])) (view s 0)) (Approved 0 (Wr 0x186 counts) false)
     = Some (t, y)
  /\ N.testbit (rd (sel (hw t)) 0) EN = true /\ permitted (pol (get t 0)) (rd (sel (hw t)) 0) = false.
Proof.
  destruct (run small (init small [guest]) before) as [(s, xs) |] eqn:R; [| vm_compute in R; discriminate R].
  destruct (step small (store small s 0 (with_pol (get s 0) (allow [])) (view s 0)) (Approved 0 (Wr 0x186 counts) false))
    as [(t, y) |] eqn:E.
  - exists s, t, y. split; [split; [| eauto] |].
    + repeat constructor; vm_compute; auto; discriminate.
    + split; [exact E |]. vm_compute in R. injection R as <- _. vm_compute in E. injection E as <- _. split; reflexivity.
  - vm_compute in R. injection R as <- _. vm_compute in E. discriminate E.
Qed.
End Stale.
