(** * The theorems. Each speaks of every run of the machine from its start. *)
From Coq Require Import Arith NArith List Bool Lia.
From Vpmu Require Import Arch Policy Machine Bits Registers Invariant Local.
Import ListNotations.
Open Scope N_scope.

Section Theorems.
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
  - intros v V. destruct (E v V) as (c & I & ->). destruct (F c I) as (A & B & C & D & _ & G).
    repeat split; auto; apply G; auto.
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
(** While a guest runs, the counters that count are its own: it has them, it enabled them. *)
Theorem counters_of_the_guest cs s v : reached cs s -> cur s = Some v ->
  owner s = Some v
  /\ (forall i, gp_enabled (hw s) i = true -> (i < gp_count (geo (get s v)))%nat /\ gp_enabled (view s v) i = true)
  /\ (forall i, fx_enabled (hw s) i = true -> (i < fx_count (geo (get s v)))%nat /\ fx_enabled (view s v) i = true).
Proof.
  intros R C. apply inv_reached in R. split; [apply (inv_cur _ _ R); auto |].
  destruct (hw_running H s v R C) as (V & ->). destruct (inv_regs _ _ R v V).
  unfold gp_enabled, fx_enabled. simpl. split; intros i; rewrite andb_true_iff; intros (G & E).
  - rewrite rd_pad in E. destruct (Nat.lt_ge_cases i (length (sel (view s v)))) as [L | L].
    + split; [lia |]. rewrite G. rewrite rd_map in E by auto. unfold hw_sel in E.
      destruct (permitted _ _); auto. rewrite N.clearbit_eq in E. discriminate E.
    + rewrite rd_overflow in E by (rewrite map_length; auto). rewrite N.bits_0 in E. discriminate E.
  - destruct (Nat.lt_ge_cases i (fx_count (geo (get s v)))) as [L | L].
    + split; auto. rewrite G. cbn [andb]. rewrite negb_true_iff, N.eqb_neq in *. intros Z. apply E.
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
(** In particular: no AnyThread, no PEBS, nothing in a reserved bit. *)
Corollary no_reserved_bit cs s i j : reached cs s ->
  In j [21; 34; 35; 40; 63] -> N.testbit (rd (sel (hw s)) i) j = false.
Proof.
  intros R J. pose proof (only_permitted cs s R) as P.
  destruct (owner s) as [v |].
  - destruct P as (P & _). destruct (P i) as (F & _). rewrite fits_spec in F. specialize (F j).
    destruct (N.testbit (rd (sel (hw s)) i) j); auto. specialize (F eq_refl).
    unfold sel_mask in F. rewrite !N.lor_spec, !bit_spec in F.
    simpl in J. intuition; subst j; cbn in F; rewrite ?andb_false_r in F; discriminate F.
  - destruct P as (P & _). rewrite P. apply N.bits_0.
Qed.

(** ** Isolation: what a guest observes is a function of its own operations alone *)
Fixpoint local_run (l : local) (os : list op) : option (local * list out) :=
  match os with
  | [] => Some (l, [])
  | o :: os =>
      match local_step l o with
      | Some (l', x) => match local_run l' os with Some (k, xs) => Some (k, x :: xs) | None => None end
      | None => None
      end
  end.
Definition own (v : nat) (os : list op) : list op := List.filter (fun o => is (domain o) v) os.
Fixpoint answers (v : nat) (os : list op) (xs : list out) : list out :=
  match os, xs with
  | o :: os, x :: xs => if is (domain o) v then x :: answers v os xs else answers v os xs
  | _, _ => []
  end.

Theorem isolation os : forall s t xs v, inv H s -> valid s v -> run H s os = Some (t, xs) ->
  local_run (localize s v) (own v os) = Some (localize t v, answers v os xs).
Proof.
  induction os as [| o os IH]; simpl; intros s t xs v I V E; [injection E as <- <-; auto |].
  destruct (step H s o) as [(s', x) |] eqn:S; [| discriminate E].
  destruct (run H s' os) as [(u, ys) |] eqn:R; [| discriminate E]. injection E as <- <-.
  destruct (simulation H s o s' x I S) as (I' & L & A). specialize (A v V).
  assert (V' : valid s' v) by (unfold valid; rewrite L; exact V).
  specialize (IH _ _ _ v I' V' R).
  destruct (is (domain o) v); simpl.
  - rewrite A, IH. reflexivity.
  - rewrite <- A, IH. reflexivity.
Qed.
(** Two systems that differ in everything but one VM and its operations: it gets the same answers. *)
Corollary noninterference cs1 cs2 s1 s2 os1 os2 t1 t2 xs1 xs2 v :
  reached cs1 s1 -> reached cs2 s2 -> valid s1 v -> valid s2 v -> localize s1 v = localize s2 v ->
  own v os1 = own v os2 -> run H s1 os1 = Some (t1, xs1) -> run H s2 os2 = Some (t2, xs2) ->
  answers v os1 xs1 = answers v os2 xs2 /\ localize t1 v = localize t2 v.
Proof.
  intros R1 R2 V1 V2 L O E1 E2. apply inv_reached in R1, R2.
  pose proof (isolation os1 s1 t1 xs1 v R1 V1 E1) as A1.
  pose proof (isolation os2 s2 t2 xs2 v R2 V2 E2) as A2.
  rewrite L, O in A1. rewrite A1 in A2.
  assert (E : (localize t1 v, answers v os1 xs1) = (localize t2 v, answers v os2 xs2)) by congruence.
  split; [exact (f_equal snd E) | exact (f_equal fst E)].
Qed.

(** ** Read-back *)
(** What RDMSR gives after WRMSR of x: x itself in control registers. *)
Definition written (g : geometry) (k : reg) (x : N) : N :=
  match k with
  | Sel _ | FixedCtrl | GCtrl | Full _ => x
  | Legacy _ => N.land (sign32 x) (ones (gp_width g))
  | Fixed _ => N.land x (ones (fx_width g))
  | _ => 0
  end.
Lemma index_lt m b n i : index m b n = Some i -> (i < n)%nat.
Proof.
  unfold index. destruct (N.leb_spec b m); [| discriminate]. destruct (N.ltb_spec m (b + N.of_nat n)); [| discriminate].
  cbn. intros [= <-]. lia.
Qed.
Lemma decode_index g m k : decode g m = Some k ->
  match k with
  | Sel i | Legacy i | Full i => (i < gp_count g)%nat
  | Fixed i => (i < fx_count g)%nat
  | _ => True
  end.
Proof.
  unfold decode. intros E.
  destruct (index m 0x186 (gp_count g)) eqn:A; [injection E as <-; eauto using index_lt |].
  destruct (index m 0xC1 (gp_count g)) eqn:B; [injection E as <-; eauto using index_lt |].
  destruct (index m 0x4C1 (gp_count g)) eqn:C; [destruct (N.testbit _ _); [injection E as <-; eauto using index_lt | discriminate E] |].
  destruct (index m 0x309 (fx_count g)) eqn:D; [injection E as <-; eauto using index_lt |].
  repeat match type of E with (if ?b then _ else _) = _ => destruct b end; try discriminate E; injection E as <-; exact I.
Qed.
Theorem read_back g r m x r' k : wf g r -> decode g m = Some k -> do_access g r (Wr m x) = (r', Done) ->
  do_access g r' (Rd m) = (r', Value (written g k x)).
Proof.
  intros [] D E. simpl in *. rewrite D in *. pose proof (decode_index g m k D) as L.
  destruct (fits x (ones 64)); [| discriminate E]. destruct (write g r k x) as [u |] eqn:W; [| discriminate E].
  injection E as ->. f_equal.
  destruct k; simpl in W;
    repeat match type of W with (if ?b then _ else _) = _ => destruct b; [| discriminate W] end;
    try discriminate W; injection W as <-; simpl; try rewrite upd_same by lia; reflexivity.
Qed.

(** A control register keeps its value until its guest writes it again, is reset or restored: whatever other VMs,
    the policy, counting and switching do meanwhile. *)
Definition control (k : reg) : bool := match k with Sel _ | FixedCtrl | GCtrl => true | _ => false end.
Definition reg_eqb (a b : reg) : bool :=
  match a, b with
  | Sel i, Sel j => Nat.eqb i j
  | FixedCtrl, FixedCtrl | GCtrl, GCtrl => true
  | _, _ => false
  end.
Definition writes (g : geometry) (k : reg) (o : op) : bool :=
  match o with
  | Direct _ (Wr m _) | Trap _ (Wr m _) => match decode g m with Some j => reg_eqb j k | None => false end
  | Reset _ | Restore _ _ _ => true
  | _ => false
  end.
Lemma write_keeps g r j x r' k : write g r j x = Some r' -> control k = true -> reg_eqb j k = false ->
  read g r' k = read g r k.
Proof.
  intros W C N.
  destruct j; simpl in W;
    repeat match type of W with (if ?b then _ else _) = _ => destruct b; [| discriminate W] end;
    try discriminate W; injection W as <-; destruct k; try discriminate C; try discriminate N; simpl; try reflexivity.
  rewrite upd_other; auto. apply Nat.eqb_neq. exact N.
Qed.
Lemma access_keeps g r a k : control k = true ->
  (match a with Wr m _ => match decode g m with Some j => reg_eqb j k | None => false end | _ => false end) = false ->
  read g (fst (do_access g r a)) k = read g r k.
Proof.
  intros C N. destruct a as [m | m x |]; simpl; auto.
  destruct (decode g m) as [j |]; auto. destruct (fits x (ones 64)); auto.
  destruct (write g r j x) eqn:W; auto. simpl. eapply write_keeps; eauto.
Qed.
Lemma counted_keeps g f r gps fxs k g' : control k = true -> read g' (fst (counted g f r gps fxs)) k = read g' r k.
Proof. intros C. destruct k; try discriminate C; reflexivity. Qed.
Lemma local_keeps l o l' x k : local_step l o = Some (l', x) -> control k = true -> writes (l_geo l) k o = false ->
  l_geo l' = l_geo l /\ read (l_geo l) (l_view l') k = read (l_geo l) (l_view l) k.
Proof.
  intros E C N.
  destruct o as [v | v | v gps fxs | v a | v a | v user branch | | v | v | v f | v | v r p]; cbn [local_step writes] in E, N; try discriminate N.
  1, 2, 8, 9, 10: match type of E with (if ?b then _ else _) = _ => destruct b; [| discriminate E] end;
    injection E as <- _; auto.
  - pose proof (counted_keeps (l_geo l) (l_pol l) (l_view l) gps fxs k (l_geo l) C) as K.
    destruct (counted _ _ _ _ _) as (r, q). destruct (l_runs l); [| discriminate E]. injection E as <- _. split; [reflexivity | exact K].
  - pose proof (access_keeps (l_geo l) (l_view l) a k C N) as K.
    destruct (do_access _ _ _) as (r, q). destruct (l_runs l && l_direct l); [| discriminate E]. injection E as <- _. split; [reflexivity | exact K].
  - pose proof (access_keeps (l_geo l) (l_view l) a k C N) as K.
    destruct (do_access _ _ _) as (r, q). destruct (negb (l_runs l)); [| discriminate E]. injection E as <- _. split; [reflexivity | exact K].
  - pose proof (counted_keeps (l_geo l) (l_pol l) (l_view l)
        (map (credit_gp user branch) (sel (effective (l_geo l) (l_pol l) (l_view l))))
        [credit_fx user (fctrl (effective (l_geo l) (l_pol l) (l_view l)))] k (l_geo l) C) as K.
    unfold complete in E. destruct (counted _ _ _ _ _) as (r, q).
    destruct (negb (l_runs l)); [| discriminate E]. injection E as <- _. split; [reflexivity | exact K].
  - injection E as <- _. auto.
Qed.
Theorem control_kept cs s os t xs v k : reached cs s -> valid s v -> control k = true ->
  run H s os = Some (t, xs) -> forallb (fun o => negb (writes (geo (get s v)) k o)) (own v os) = true ->
  read (geo (get t v)) (view t v) k = read (geo (get s v)) (view s v) k.
Proof.
  intros R V C E N. apply inv_reached in R. pose proof (isolation os s t xs v R V E) as A.
  change (geo (get s v)) with (l_geo (localize s v)) in *. change (geo (get t v)) with (l_geo (localize t v)).
  change (view s v) with (l_view (localize s v)). change (view t v) with (l_view (localize t v)).
  revert A N. generalize (localize s v) (localize t v) (answers v os xs). clear - C.
  induction (own v os) as [| o l IH]; simpl; intros a b ys A N; [injection A as <- _; auto |].
  apply andb_true_iff in N as (N1 & N2). apply negb_true_iff in N1.
  destruct (local_step a o) as [(a', x) |] eqn:S; [| discriminate A].
  destruct (local_run a' l) as [(k', zs) |] eqn:L; [| discriminate A]. injection A as <- _.
  destruct (local_keeps a o a' x k S C N1) as (G & K). rewrite <- G in N2.
  rewrite (IH a' k' zs L N2), G. exact K.
Qed.

(** ** PMIs: none lost, doubled or misdelivered *)
(** Whether a counter of this VM with INT set wraps in this operation. *)
Definition raises (l : local) (o : op) : bool :=
  match o with
  | Tick _ gps fxs => snd (counted (l_geo l) (l_pol l) (l_view l) gps fxs)
  | Complete _ user branch => snd (complete (l_geo l) (l_pol l) (l_view l) user branch)
  | _ => false
  end.
(** How often a PMI was raised while none was pending; those that come while one is merge with it. *)
Fixpoint raised (l : local) (os : list op) : nat :=
  match os with
  | [] => 0
  | o :: os => (if raises l o && negb (l_pending l) then 1 else 0)
               + match local_step l o with Some (l', _) => raised l' os | None => 0 end
  end.
Definition delivered (os : list op) : nat :=
  length (List.filter (fun o => match o with Deliver _ => true | _ => false end) os).
Definition is_restore (o : op) : bool := match o with Restore _ _ _ => true | _ => false end.
Lemma local_pmi l o l' x : local_step l o = Some (l', x) -> is_restore o = false ->
  (Nat.b2n (raises l o && negb (l_pending l)) + Nat.b2n (l_pending l)
   = Nat.b2n (match o with Deliver _ => true | _ => false end) + Nat.b2n (l_pending l'))%nat.
Proof.
  intros E N. destruct o as [v | v | v gps fxs | v a | v a | v user branch | | v | v | v f | v | v r p]; cbn [local_step raises is_restore] in *; try discriminate N.
  1, 2, 7, 9, 10, 11: repeat match type of E with (if ?b then _ else _) = _ => destruct b; [| discriminate E]
                                            | Some _ = _ => fail end; injection E as <- _; reflexivity.
  - destruct (counted _ _ _ _ _) as (r, q). destruct (l_runs l); [| discriminate E]. injection E as <- _.
    simpl. destruct q, (l_pending l); reflexivity.
  - destruct (do_access _ _ _) as (r, q). destruct (l_runs l && l_direct l); [| discriminate E]. injection E as <- _. reflexivity.
  - destruct (do_access _ _ _) as (r, q). destruct (negb (l_runs l)); [| discriminate E]. injection E as <- _. reflexivity.
  - destruct (complete _ _ _ _ _) as (r, q). destruct (negb (l_runs l)); [| discriminate E]. injection E as <- _.
    simpl. destruct q, (l_pending l); reflexivity.
  - destruct (negb (l_runs l)); [| discriminate E]. destruct (l_pending l); [| discriminate E]. injection E as <- _. reflexivity.
Qed.
(** For each VM, over any run: raised + pending before = delivered + pending after. *)
Theorem pmi_account cs s os t xs v : reached cs s -> valid s v -> run H s os = Some (t, xs) ->
  forallb (fun o => negb (is_restore o)) (own v os) = true ->
  (raised (localize s v) (own v os) + Nat.b2n (pending s v) = delivered (own v os) + Nat.b2n (pending t v))%nat.
Proof.
  intros R V E N. apply inv_reached in R. pose proof (isolation os s t xs v R V E) as A.
  change (pending s v) with (l_pending (localize s v)). change (pending t v) with (l_pending (localize t v)).
  revert A N. generalize (localize s v) (localize t v) (answers v os xs).
  induction (own v os) as [| o l IH]; simpl; intros a b ys A N; [injection A as <- _; reflexivity |].
  apply andb_true_iff in N as (N1 & N2). apply negb_true_iff in N1.
  destruct (local_step a o) as [(a', x) |] eqn:S; [| discriminate A].
  destruct (local_run a' l) as [(k', zs) |] eqn:L; [| discriminate A]. injection A as <- _.
  specialize (IH a' k' zs L N2). pose proof (local_pmi a o a' x S N1) as P.
  unfold delivered in *. simpl. destruct (raises a o && negb (l_pending a)), o; simpl in *; lia.
Qed.
(** A PMI is delivered only to a VM that has one pending, and then it is no longer pending. *)
Theorem pmi_once cs s v t x : reached cs s -> step H s (Deliver v) = Some (t, x) ->
  pending s v = true /\ pending t v = false.
Proof.
  intros R E. apply inv_reached in R. pose proof (simulation H _ _ _ _ R E) as (_ & _ & A).
  cbn [step] in E. destruct (match cur s with None => true | Some _ => false end); [| discriminate E].
  destruct (Nat.ltb v (length (vms s))) eqn:V; [| discriminate E]. destruct (pending s v) eqn:P; [| discriminate E].
  split; auto. specialize (A v (valid_ltb s v V)). cbn [domain] in A. rewrite is_refl in A.
  cbn in A. rewrite P in A. destruct (negb (is (cur s) v)); [| discriminate A].
  symmetry. exact (f_equal (fun y => match y with Some (l, _) => l_pending l | None => true end) A).
Qed.

(** ** A refused operation changes nothing *)
Theorem refused_changes_nothing s o t x : step H s o = Some (t, x) -> x = Answer GP \/ x = Refused -> t = s.
Proof.
  intros E X. destruct o as [v | v | v gps fxs | v a | v a | v user branch | | v | v | v f | v | v r p]; cbn [step] in E.
  1, 2, 7, 8, 9, 10, 11: repeat match type of E with (if ?b then _ else _) = _ => destruct b; [| discriminate E]
                                            | Some _ = _ => fail end; injection E as <- <-; destruct X; discriminate.
  - destruct (count _ _ _ _). destruct (is (cur s) v); [| discriminate E]. injection E as <- <-. destruct X; discriminate.
  - pose proof (access_done H (hw s) a) as K. destruct (do_access H (hw s) a) as (h, y).
    destruct (is (cur s) v && direct (get s v) && data_access H a); [| discriminate E]. injection E as <- <-.
    destruct X as [[= ->] | X]; [| discriminate X]. cbn in K. rewrite K by discriminate. destruct s; reflexivity.
  - destruct (do_access _ _ _) as (r, y). destruct ((_ : bool) && _); [| discriminate E].
    injection E as <- <-. destruct X as [[= ->] | X]; [reflexivity | discriminate X].
  - destruct (complete _ _ _ _ _). destruct ((_ : bool) && _); [| discriminate E]. injection E as <- <-. destruct X; discriminate.
  - destruct ((_ : bool) && _); [| discriminate E].
    destruct (regs_ok _ _); injection E as <- <-; [destruct X; discriminate | reflexivity].
Qed.

(** ** Save, then restore *)
Lemma shown_wf g r : wf g r -> wf g (shown g r).
Proof. unfold shown. destruct (2 <=? version g); auto. intros []. constructor; simpl; auto using fits_0. Qed.
(** A snapshot restored into any VM of the same geometry, of this machine or another, is accepted, and its
    guest then sees what the saved guest saw. *)
Theorem save_restore cs1 cs2 s s' v r p t w :
  reached cs1 s -> step H s (Save v) = Some (s', Snapshot r p) ->
  reached cs2 t -> valid t w -> cur t = None -> geo (get t w) = geo (get s v) ->
  s' = s /\ exists t', step H t (Restore w r p) = Some (t', Silent)
            /\ shown (geo (get s v)) (view t' w) = shown (geo (get s v)) (view s v)
            /\ pending t' w = pending s v.
Proof.
  intros R1 E R2 V C G. apply inv_reached in R1, R2. cbn [step] in E.
  destruct (match cur s with None => true | Some _ => false end); [| discriminate E].
  destruct (Nat.ltb v (length (vms s))) eqn:V1; [| discriminate E]. injection E as <- <- <-.
  apply valid_ltb in V1. split; auto.
  set (g := geo (get s v)) in *. set (u := shown g (view s v)).
  assert (K : regs_ok (geo (get t w)) u = true) by (rewrite G; apply regs_ok_wf, shown_wf, R1, V1).
  assert (J : shown g u = u) by (unfold u, shown; destruct (2 <=? version g); reflexivity).
  destruct (step H t (Restore w u (pending s v))) as [(t', x) |] eqn:S.
  - exists t'. pose proof (simulation H _ _ _ _ R2 S) as (_ & _ & A). specialize (A w V).
    cbn [domain] in A. rewrite is_refl in A. cbn [local_step localize l_geo l_runs] in A.
    rewrite C, K in A. cbn [is negb] in A.
    assert (E : (to (localize t w) false u (pending s v), Silent) = (localize t' w, x)) by congruence.
    pose proof (f_equal snd E) as X. cbn in X. subst x. split; [reflexivity |].
    split; [rewrite <- (f_equal (fun y => l_view (fst y)) E : u = view t' w); exact J |].
    symmetry. exact (f_equal (fun y => l_pending (fst y)) E).
  - exfalso. cbn [step] in S. rewrite C, K in S. unfold valid in V. apply Nat.ltb_lt in V. rewrite V in S. discriminate S.
Qed.

(** ** Direct access is transparent: the hardware answers as the policy domain would *)
Theorem direct_transparent cs s v a t x : reached cs s -> step H s (Direct v a) = Some (t, x) ->
  exists t', run H s [Exit v; Trap v a; Enter v] = Some (t', [Silent; x; Silent])
             /\ forall w, valid s w -> localize t' w = localize t w.
Proof.
  intros R E. apply inv_reached in R.
  pose proof (simulation H _ _ _ _ R E) as (_ & _ & A).
  assert (C : cur s = Some v).
  { cbn [step] in E. destruct (do_access H (hw s) a). destruct (is (cur s) v) eqn:C; [| discriminate E].
    apply is_spec. exact C. }
  destruct (hw_running H s v R C) as (V & _).
  pose proof V as V'. unfold valid in V'. apply Nat.ltb_lt in V'.
  (* the three steps are possible *)
  assert (S1 : step H s (Exit v) = Some (exited s v, Silent)) by (cbn [step]; rewrite C, is_refl; reflexivity).
  pose proof (simulation H _ _ _ _ R S1) as (I1 & L1 & A1).
  destruct (step H (exited s v) (Trap v a)) as [(s2, x2) |] eqn:S2.
  2:{ exfalso. cbn [step] in S2. destruct (do_access _ _ _). rewrite L1, V' in S2. discriminate S2. }
  pose proof (simulation H _ _ _ _ I1 S2) as (I2 & L2 & A2).
  assert (C2 : cur s2 = None).
  { cbn [step] in S2. destruct (do_access _ _ _) as (r, y). rewrite L1, V' in S2. cbn in S2.
    injection S2 as <- _. destruct y; reflexivity. }
  destruct (step H s2 (Enter v)) as [(s3, x3) |] eqn:S3.
  2:{ exfalso. cbn [step] in S3. rewrite C2, L2, L1, V' in S3. discriminate S3. }
  pose proof (simulation H _ _ _ _ I2 S3) as (I3 & L3 & A3).
  assert (X3 : x3 = Silent).
  { cbn [step] in S3. rewrite C2, L2, L1, V' in S3. cbn in S3. congruence. }
  (* and end where the direct access ended *)
  assert (Q : forall w, valid s w -> valid (exited s v) w /\ valid s2 w)
    by (unfold valid; intros w W; rewrite L2, L1; auto).
  assert (P : forall w, valid s w -> v = w ->
    x2 = x /\ local_step (localize s2 w) (Enter v) = Some (localize t w, Silent)).
  { intros w W <-. destruct (Q v V) as (Q1 & _).
    specialize (A v V). specialize (A1 v V). specialize (A2 v Q1).
    cbn [domain] in A, A1, A2. rewrite is_refl in A, A1, A2.
    assert (L : l_runs (localize s v) = true) by (cbn; rewrite C; apply is_refl).
    revert A A1 A2 L. generalize (localize s v) (localize t v) (localize s2 v) (localize (exited s v) v).
    intros l lt l2 l1 A A1 A2 L. cbn [local_step] in A, A1. rewrite L in A, A1.
    assert (B1 : l1 = to l false (l_view l) (l_pending l)) by congruence. subst l1.
    cbn [local_step to l_geo l_view l_runs l_direct l_pending negb] in A2.
    destruct (do_access (l_geo l) (l_view l) a) as (r, y).
    destruct (l_direct l) eqn:DD; [| discriminate A]. cbn [andb] in A.
    assert (B : lt = to l true r (l_pending l)) by congruence.
    assert (B2 : l2 = to (to l false (l_view l) (l_pending l)) false r (l_pending l)) by congruence.
    split; [congruence |]. subst lt l2. reflexivity. }
  destruct (P v V eq_refl) as (X2 & _).
  exists s3. subst x2 x3. split.
  - cbn [run]. rewrite S1, S2, S3. reflexivity.
  - intros w W. destruct (Q w W) as (Q1 & Q2).
    specialize (A w W). specialize (A1 w W). specialize (A2 w Q1). specialize (A3 w Q2).
    cbn [domain] in A, A1, A2, A3. rewrite is_some in A, A1, A2, A3.
    destruct (Nat.eqb_spec v w) as [D | D].
    + destruct (P w W D) as (_ & B). rewrite B in A3. congruence.
    + congruence.
Qed.
End Theorems.
