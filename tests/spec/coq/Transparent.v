(** * Theorems: what is refused, saved, direct or approved makes no other difference. *)
From Coq Require Import Arith NArith List Bool Lia.
From Vpmu Require Import Arch Policy Machine Bits Registers Invariant Approved Local Permitted Isolated.
Import ListNotations.
Open Scope N_scope.

Section Transparent.
Variable H : geometry.

(** ** A refused operation changes nothing *)
Theorem refused_changes_nothing s o t x : step H s o = Some (t, x) -> x = Answer GP \/ x = Refused -> t = s.
Proof.
  intros E X. destruct o as [v | v | v gps fxs | v a | v a | v n i | v a user | v user branch | | v | v | v f | v | v r p]; cbn [step] in E.
  1, 2, 9, 10, 11: repeat match type of E with (if ?b then _ else _) = _ => destruct b; [| discriminate E]
                                            | Some _ = _ => fail end; injection E as <- <-; destruct X; discriminate.
  - destruct (count _ _ _ _). destruct (is (cur s) v); [| discriminate E]. injection E as <- <-. destruct X; discriminate.
  - pose proof (access_done H (hw s) a) as K. destruct (do_access H (hw s) a) as (h, y).
    destruct (is (cur s) v && direct (get s v) && _); [| discriminate E]. injection E as <- <-.
    destruct X as [[= ->] | X]; [| discriminate X]. cbn in K. rewrite K by discriminate. destruct s; reflexivity.
  - destruct (do_access _ _ _) as (r, y). destruct ((_ : bool) && _); [| discriminate E].
    injection E as <- <-. destruct X as [[= ->] | X]; [reflexivity | discriminate X].
  - destruct (recorded _ _ _ _); [| discriminate E]. destruct ((_ : bool) && _); [| discriminate E].
    injection E as <- <-. destruct X; discriminate.
  - destruct (in_kernel H s v a user) as [(t', y) |] eqn:K; [| discriminate E].
    destruct ((_ : bool) && _); [| discriminate E]. injection E as <- <-. destruct X as [[= ->] | X]; [| discriminate X].
    unfold in_kernel in K.
    destruct a; [destruct (control_value _ _ _); [destruct (hit _ _ _) |] | destruct (hit _ _ _) |]; discriminate K.
  - destruct (complete _ _ _ _ _). destruct ((_ : bool) && _); [| discriminate E]. injection E as <- <-. destruct X; discriminate.
  - destruct ((_ : bool) && _); [| discriminate E].
    destruct (mediated _ _ && negb _); injection E as <- <-; [destruct X; discriminate | reflexivity].
  - destruct ((_ : bool) && _); [| discriminate E]. injection E as <- _. reflexivity.
  - destruct ((_ : bool) && _); [| discriminate E].
    destruct (mediated _ _ && snapshot_ok _ _); injection E as <- <-; [destruct X; discriminate | reflexivity].
Qed.

(** ** Save, then restore *)
Lemma shown_wf g r : wf g r -> wf g (shown g r).
Proof. unfold shown. destruct (2 <=? version g); auto. intros []. constructor; simpl; auto using fits_0. Qed.
(** A snapshot restored into any VM of the same geometry and not in passthrough, of this machine or another, is accepted,
    and its guest then sees what the saved guest saw. *)
Theorem save_restore cs1 cs2 s s' v r p t w :
  reached H cs1 s -> step H s (Save v) = Some (s', Snapshot r p) ->
  reached H cs2 t -> valid t w -> cur t = None -> geo (get t w) = geo (get s v) -> passthrough (pol (get t w)) = false ->
  s' = s /\ exists t', step H t (Restore w r p) = Some (t', Silent)
            /\ shown (geo (get s v)) (view t' w) = shown (geo (get s v)) (view s v)
            /\ pending t' w = pending s v.
Proof.
  intros R1 E R2 V C G NP. apply inv_reached in R1, R2. cbn [step] in E.
  destruct (match cur s with None => true | Some _ => false end); [| discriminate E].
  destruct (Nat.ltb v (length (vms s))) eqn:V1; [| discriminate E].
  destruct (mediated _ _) eqn:M in E; [| discriminate E]. injection E as <- <- <-.
  assert (M' : mediated (geo (get t w)) (pol (get t w)) = true).
  { unfold mediated in *. rewrite G, NP. apply andb_true_iff in M as (-> & _). reflexivity. }
  apply valid_ltb in V1. split; auto.
  set (g := geo (get s v)) in *. set (u := shown g (view s v)).
  assert (K : snapshot_ok (geo (get t w)) u = true).
  { rewrite G. unfold snapshot_ok. apply andb_true_iff. split; [apply regs_ok_wf, shown_wf, R1, V1 |].
    unfold u, shown. destruct (2 <=? version g) eqn:B; auto. }
  assert (J : shown g u = u) by (unfold u, shown; destruct (2 <=? version g); reflexivity).
  destruct (step H t (Restore w u (pending s v))) as [(t', x) |] eqn:S.
  - exists t'. pose proof (simulation H _ _ _ _ R2 S) as (_ & _ & A). specialize (A w V).
    cbn [domain] in A. rewrite is_refl in A. cbn [local_step localize l_geo l_pol l_runs] in A.
    rewrite C, M', K in A. cbn [is negb andb] in A.
    assert (E : (to (localize t w) false u (pending s v), Silent) = (localize t' w, x)) by congruence.
    pose proof (f_equal snd E) as X. cbn in X. subst x. split; [reflexivity |].
    split; [rewrite <- (f_equal (fun y => l_view (fst y)) E : u = view t' w); exact J |].
    symmetry. exact (f_equal (fun y => l_pending (fst y)) E).
  - exfalso. cbn [step] in S. rewrite C, M', K in S. unfold valid in V. apply Nat.ltb_lt in V. rewrite V in S. discriminate S.
Qed.

(** ** Direct access is transparent: the hardware answers as the policy domain would *)
Theorem direct_transparent cs s v a t x : reached H cs s -> passthrough (pol (get s v)) = false ->
  step H s (Direct v a) = Some (t, x) ->
  exists t', run H s [Exit v; Trap v a; Enter v] = Some (t', [Silent; x; Silent])
             /\ forall w, valid s w -> localize t' w = localize t w.
Proof.
  intros R NP E. apply inv_reached in R.
  pose proof (simulation H _ _ _ _ R E) as (_ & _ & A).
  assert (C : cur s = Some v).
  { cbn [step] in E. destruct (do_access H (hw s) a). destruct (is (cur s) v) eqn:C; [| discriminate E].
    apply is_spec. exact C. }
  destruct (hw_running H s v R C) as (V & _).
  pose proof V as V'. unfold valid in V'. apply Nat.ltb_lt in V'.
  (* the three steps are possible *)
  assert (S1 : step H s (Exit v) = Some (exited s v, Silent)) by (cbn [step]; rewrite C, is_refl; reflexivity).
  pose proof (simulation H _ _ _ _ R S1) as (I1 & L1 & A1).
  assert (NP' : passthrough (pol (get (exited s v) v)) = false)
    by (destruct (get_exited s v v V) as (_ & _ & -> & _); exact NP).
  destruct (step H (exited s v) (Trap v a)) as [(s2, x2) |] eqn:S2.
  2:{ exfalso. cbn [step] in S2. destruct (do_access _ _ _). rewrite L1, V', NP' in S2. discriminate S2. }
  pose proof (simulation H _ _ _ _ I1 S2) as (I2 & L2 & A2).
  assert (C2 : cur s2 = None).
  { cbn [step] in S2. destruct (do_access _ _ _) as (r, y). rewrite L1, V', NP' in S2. cbn in S2.
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

(** ** Approved accesses add nothing: each is a trapped access and its completion *)
Definition trapped (o : op) : list op :=
  match o with Approved v a user => [Trap v a; Complete v user false] | _ => [o] end.
Fixpoint trapped_answers (os : list op) (xs : list out) : list out :=
  match os, xs with
  | o :: os, x :: xs => (match o with Approved _ _ _ => [x; Silent] | _ => [x] end) ++ trapped_answers os xs
  | _, _ => []
  end.
Lemma run_app os : forall s ps t xs, run H s os = Some (t, xs) ->
  run H s (os ++ ps) = match run H t ps with Some (u, ys) => Some (u, xs ++ ys) | None => None end.
Proof.
  induction os as [| o os IH]; simpl; intros s ps t xs E.
  - injection E as <- <-. destruct (run H s ps) as [(u, ys) |]; reflexivity.
  - destruct (step H s o) as [(s', x) |]; [| discriminate E].
    destruct (run H s' os) as [(u, ys) |] eqn:R; [| discriminate E]. injection E as <- <-.
    rewrite (IH _ ps _ _ R). destruct (run H u ps) as [(w, zs) |]; reflexivity.
Qed.
(** Any run with approved accesses is one without them: the same state, all of it, and the same answers. *)
Theorem approved_adds_nothing cs os : forall s t xs, reached H cs s -> run H s os = Some (t, xs) ->
  run H s (flat_map trapped os) = Some (t, trapped_answers os xs).
Proof.
  intros s t xs R. apply inv_reached in R. revert s t xs R.
  induction os as [| o os IH]; simpl; intros s t xs I E; [injection E as <- <-; auto |].
  destruct (step H s o) as [(s', x) |] eqn:S; [| discriminate E].
  destruct (run H s' os) as [(u, ys) |] eqn:R; [| discriminate E]. injection E as <- <-.
  pose proof (simulation H s o s' x I S) as (I' & _).
  assert (T : run H s (trapped o) = Some (s', match o with Approved _ _ _ => [x; Silent] | _ => [x] end)).
  { destruct o; try (cbn [trapped run]; rewrite S; reflexivity). apply (approved_is_trapped H s v a user s' x I S). }
  rewrite (run_app _ _ _ _ _ T), (IH _ _ _ I' R). reflexivity.
Qed.

(** So noninterference covers the kernel's own decision as well. Whether the kernel can complete an access depends on whose
    registers are loaded and on what its table holds, and so on what other VMs do. To the guest it is the same: [asked] are
    its operations, the trapped access and the completion in the place of each approved one, and no records of pairs. *)
Definition is_record (o : op) : bool := match o with Record _ _ _ => true | _ => false end.
Definition asked (v : nat) (os : list op) : list op :=
  List.filter (fun o => negb (is_record o)) (own v (flat_map trapped os)).
Fixpoint without_records (os : list op) (xs : list out) : list out :=
  match os, xs with
  | o :: os, x :: xs => if is_record o then without_records os xs else x :: without_records os xs
  | _, _ => []
  end.
Definition got (v : nat) (os : list op) (xs : list out) : list out :=
  without_records (own v (flat_map trapped os)) (answers v (flat_map trapped os) (trapped_answers os xs)).
Lemma local_run_asked os : forall l k xs, local_run l os = Some (k, xs) ->
  local_run l (List.filter (fun o => negb (is_record o)) os) = Some (k, without_records os xs).
Proof.
  induction os as [| o os IH]; simpl; intros l k xs E; [injection E as <- <-; reflexivity |].
  destruct (local_step l o) as [(l', x) |] eqn:S; [| discriminate E].
  destruct (local_run l' os) as [(u, ys) |] eqn:R; [| discriminate E]. injection E as <- <-. specialize (IH _ _ _ R).
  destruct (is_record o) eqn:K; cbn [negb]; [| cbn [local_run]; rewrite S, IH; reflexivity].
  destruct o; try discriminate K. cbn in S. destruct (negb (l_runs l)); [| discriminate S]. injection S as <- _. exact IH.
Qed.
Corollary noninterference_by_kernel cs1 cs2 s1 s2 os1 os2 t1 t2 xs1 xs2 v :
  reached H cs1 s1 -> reached H cs2 s2 -> valid s1 v -> valid s2 v -> localize s1 v = localize s2 v ->
  asked v os1 = asked v os2 -> run H s1 os1 = Some (t1, xs1) -> run H s2 os2 = Some (t2, xs2) ->
  got v os1 xs1 = got v os2 xs2 /\ localize t1 v = localize t2 v.
Proof.
  intros R1 R2 V1 V2 L A E1 E2.
  pose proof (approved_adds_nothing cs1 os1 s1 t1 xs1 R1 E1) as F1.
  pose proof (approved_adds_nothing cs2 os2 s2 t2 xs2 R2 E2) as F2.
  apply inv_reached in R1, R2.
  apply (isolation H _ _ _ _ v R1 V1) in F1. apply (isolation H _ _ _ _ v R2 V2) in F2.
  apply local_run_asked in F1, F2. fold (asked v os1) in F1. fold (asked v os2) in F2. rewrite L, A, F2 in F1.
  assert (E : (localize t2 v, got v os2 xs2) = (localize t1 v, got v os1 xs1)) by (unfold got; congruence).
  split; [exact (eq_sym (f_equal snd E)) | exact (eq_sym (f_equal fst E))].
Qed.
End Transparent.
