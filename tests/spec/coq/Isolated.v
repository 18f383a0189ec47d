(** * Theorems: a guest observes its own operations alone, and reads what it wrote. *)
From Coq Require Import Arith NArith List Bool Lia.
From Vpmu Require Import Arch Policy Machine Bits Registers Invariant Approved Local Permitted.
Import ListNotations.
Open Scope N_scope.

Section Isolated.
Variable H : geometry.

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
  reached H cs1 s1 -> reached H cs2 s2 -> valid s1 v -> valid s2 v -> localize s1 v = localize s2 v ->
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

(** ** Nothing that other VMs do holds a guest up: what its own vPMU allows, the machine carries out, and with that result.
    Without this the theorems above would hold of a machine that stops, or never delivers a PMI. *)
(** Whose turn it is on the one processor, and which accesses exit. *)
Definition its_turn (s : machine) (o : op) : Prop :=
  match o with
  | Exit _ | Tick _ _ _ => True   (** [local_step] wants the guest to run *)
  | Direct v a => data_access H a || (passthrough (pol (get s v)) && control_access H a) = true
  | Trap v a => cur s = None /\ passthrough (pol (get s v)) && control_access H a = false
  | Record _ _ _ | Approved _ _ _ | Take => False   (** not a guest's *)
  | _ => cur s = None
  end.
Theorem not_held_up cs s v o l x : reached H cs s -> valid s v -> domain o = Some v -> its_turn s o ->
  local_step (localize s v) o = Some (l, x) -> exists t, step H s o = Some (t, x) /\ localize t v = l.
Proof.
  intros R V D T E. apply inv_reached in R.
  assert (P : exists t y, step H s o = Some (t, y)).
  { pose proof V as L. apply Nat.ltb_lt in L.
    destruct o; cbn [domain] in D; try discriminate D; injection D as ->; cbn [its_turn] in T; try contradiction;
      cbn [local_step localize l_runs l_direct l_pending l_geo l_pol l_view] in E; cbn [step]; rewrite ?L;
      try (rewrite T in *; cbn [is negb andb] in * ).
    - do 2 eexists. reflexivity.
    - destruct (is (cur s) v); [do 2 eexists; reflexivity | discriminate E].
    - destruct (count H (hw s) gps fxs), (counted _ _ _ _ _), (is (cur s) v); [do 2 eexists; reflexivity | discriminate E].
    - destruct (do_access H (hw s) a), (do_access _ _ a), (is (cur s) v), (direct (get s v)); try discriminate E.
      do 2 eexists. reflexivity.
    - destruct T as (T & ->). rewrite T. destruct (do_access _ _ a). do 2 eexists. reflexivity.
    - destruct (complete _ _ _ _ _). do 2 eexists. reflexivity.
    - destruct (pending s v); [do 2 eexists; reflexivity | discriminate E].
    - do 2 eexists. reflexivity.
    - destruct (mediated _ _ && _); do 2 eexists; reflexivity.
    - do 2 eexists. reflexivity.
    - destruct (mediated _ _ && _); do 2 eexists; reflexivity. }
  destruct P as (t & y & P). exists t. destruct (simulation H s o t y R P) as (_ & _ & A). specialize (A v V).
  rewrite D, is_some, Nat.eqb_refl, E in A. injection A as -> ->. auto.
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
  destruct (index m 0x309 (fx_count g)) eqn:D; [destruct (has_fixed _ _); [| discriminate E]; injection E as <-; eauto using index_lt |].
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
  | Direct _ (Wr m _) | Trap _ (Wr m _) | Approved _ (Wr m _) _ => match decode g m with Some j => reg_eqb j k | None => false end
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
  destruct o as [v | v | v gps fxs | v a | v a | v n i | v a user | v user branch | | v | v | v f | v | v r p]; cbn [local_step writes] in E, N; try discriminate N.
  1, 2, 6, 10, 11, 12: match type of E with (if ?b then _ else _) = _ => destruct b; [| discriminate E] end;
    try destruct (mediated _ _ && negb _) in E; injection E as <- _; auto.
  - pose proof (counted_keeps (l_geo l) (l_pol l) (l_view l) gps fxs k (l_geo l) C) as K.
    destruct (counted _ _ _ _ _) as (r, q). destruct (l_runs l); [| discriminate E]. injection E as <- _. split; [reflexivity | exact K].
  - pose proof (access_keeps (l_geo l) (l_view l) a k C N) as K.
    destruct (do_access _ _ _) as (r, q). destruct (l_runs l && l_direct l); [| discriminate E]. injection E as <- _. split; [reflexivity | exact K].
  - pose proof (access_keeps (l_geo l) (l_view l) a k C N) as K.
    destruct (do_access _ _ _) as (r, q). destruct (negb (l_runs l)); [| discriminate E]. injection E as <- _. split; [reflexivity | exact K].
  - pose proof (access_keeps (l_geo l) (l_view l) a k C N) as K.
    destruct (do_access _ _ _) as (r, y). cbn [fst] in K. unfold complete in E.
    pose proof (counted_keeps (l_geo l) (l_pol l) r (map (credit_gp user false) (sel (effective (l_geo l) (l_pol l) r)))
        [credit_fx user (fctrl (effective (l_geo l) (l_pol l) r))] k (l_geo l) C) as K'.
    destruct (counted _ _ _ _ _) as (q, p). destruct (negb (l_runs l)); [| discriminate E]. injection E as <- _.
    split; [reflexivity |]. cbn [to l_geo l_view fst] in *. congruence.
  - pose proof (counted_keeps (l_geo l) (l_pol l) (l_view l)
        (map (credit_gp user branch) (sel (effective (l_geo l) (l_pol l) (l_view l))))
        [credit_fx user (fctrl (effective (l_geo l) (l_pol l) (l_view l)))] k (l_geo l) C) as K.
    unfold complete in E. destruct (counted _ _ _ _ _) as (r, q).
    destruct (negb (l_runs l)); [| discriminate E]. injection E as <- _. split; [reflexivity | exact K].
  - injection E as <- _. auto.
Qed.
Theorem control_kept cs s os t xs v k : reached H cs s -> valid s v -> control k = true ->
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
End Isolated.
