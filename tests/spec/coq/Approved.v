(** * Approved pairs: the kernel, which knows no policy, does what the policy domain would do. *)
From Coq Require Import Arith NArith List Bool Lia.
From Vpmu Require Import Arch Policy Machine Bits Registers Invariant.
Import ListNotations.
Open Scope N_scope.

(** ** Counting depends on the numbers of events alone, not on how the list ends *)
Definition alike (ns ms : list N) : Prop := forall j, nth j ns 0 = nth j ms 0.
Lemma alike_hd ns ms : alike ns ms -> hd 0 ns = hd 0 ms.
Proof. intros A. specialize (A 0%nat). destruct ns, ms; exact A. Qed.
Lemma alike_tl ns ms : alike ns ms -> alike (tl ns) (tl ms).
Proof. intros A j. specialize (A (S j)). destruct ns, ms; cbn in *; auto; destruct j; auto. Qed.
Lemma add_alike en w : forall cs i ns ms, alike ns ms -> add en w i cs ns = add en w i cs ms.
Proof.
  induction cs; intros i ns ms A; simpl; auto. rewrite (alike_hd _ _ A), (IHcs _ _ _ (alike_tl _ _ A)). reflexivity.
Qed.
Lemma wraps_alike en w b : forall cs i ns ms, alike ns ms -> wraps en w b i cs ns = wraps en w b i cs ms.
Proof.
  induction cs; intros i ns ms A; simpl; auto. rewrite (alike_hd _ _ A), (IHcs _ _ _ (alike_tl _ _ A)). reflexivity.
Qed.
Lemma wraps_int_alike en int w : forall cs i ns ms, alike ns ms -> wraps_int en int w i cs ns = wraps_int en int w i cs ms.
Proof.
  induction cs; intros i ns ms A; simpl; auto. rewrite (alike_hd _ _ A), (IHcs _ _ _ (alike_tl _ _ A)). reflexivity.
Qed.
Lemma count_alike g r ns ms fxs : alike ns ms -> count g r ns fxs = count g r ms fxs.
Proof.
  intros A. unfold count.
  rewrite (add_alike _ _ _ _ _ _ A), (wraps_alike _ _ _ _ _ _ _ A), (wraps_int_alike _ _ _ _ _ _ _ A). reflexivity.
Qed.
(** A counter that the guest does not have has selector 0, and gets no credit. *)
Lemma credit_pad user n l : alike (map (credit_gp user false) (pad n l)) (map (credit_gp user false) l).
Proof.
  intros j. change 0 with (credit_gp user false 0). rewrite !map_nth. f_equal. apply rd_pad.
Qed.

(** ** What is decided, and what an access does, are the same *)
Lemma hit_sound m x n h : pairs_ok m -> hit (approved m) n x = Some h -> decide (geo m) (pol m) n x = Some h.
Proof.
  unfold pairs_ok, hit. rewrite Forall_forall. intros F E.
  destruct (find _ _) as [((n', x'), h') |] eqn:D; [| discriminate E]. injection E as ->.
  apply find_some in D as (I & D). apply andb_true_iff in D as (D1 & D2). apply N.eqb_eq in D1, D2. subst.
  apply (F _ I).
Qed.
Lemma decide_write g f n x h r : decide g f n x = Some h -> do_access g r (Wr n x) = (put_control g n x r, Done).
Proof.
  unfold decide, put_control. simpl. destruct (decode g n) as [[i | | | | | | | | | | |] |]; try discriminate.
  - destruct (fits x (ones 64)); [| discriminate]. simpl. destruct (fits x (sel_mask g i)); [reflexivity | discriminate].
  - destruct (fits x (ones 64)); [| discriminate]. simpl. destruct (fits x (fctrl_mask g)); [reflexivity | discriminate].
Qed.
Lemma control_read g n x r : control_value g n r = Some x -> do_access g r (Rd n) = (r, Value x).
Proof.
  unfold control_value. simpl. destruct (decode g n) as [[i | | | | | | | | | | |] |]; try discriminate; intros [= <-]; auto.
Qed.
Lemma control_value_same g n r q : sel r = sel q -> fctrl r = fctrl q -> control_value g n r = control_value g n q.
Proof. unfold control_value. intros -> ->. reflexivity. Qed.
Lemma put_control_rest g n x r : gctrl (put_control g n x r) = gctrl r /\ status (put_control g n x r) = status r
  /\ pmc (put_control g n x r) = pmc r /\ fxc (put_control g n x r) = fxc r.
Proof. unfold put_control. destruct (decode g n) as [[i | | | | | | | | | | |] |]; auto. Qed.
Lemma upd_pad n l : forall i x, (i < length l)%nat -> upd (pad n l) i x = pad n (upd l i x).
Proof.
  unfold pad. intros i x L. rewrite upd_length. revert i L. generalize (repeat 0 (n - length l)). intros z.
  induction l; intros i L; simpl in L; [lia |]. destruct i; simpl; auto. f_equal. apply IHl. lia.
Qed.

Section Approved.
Variable H : geometry.

(** The approved hardware value put into the hardware is the guest's value decided and loaded. *)
Lemma put_loaded m n x h r : decide (geo m) (pol m) n x = Some h -> length (sel r) = gp_count (geo m) ->
  put_control (geo m) n h (load H m r false) = load H m (put_control (geo m) n x r) false.
Proof.
  unfold decide, put_control, load, gate. intros D L.
  destruct (decode (geo m) n) as [[i | | | | | | | | | | |] |] eqn:K; try discriminate D.
  - destruct (_ && _) in D; [| discriminate D]. injection D as <-.
    assert (I : (i < gp_count (geo m))%nat).
    { unfold decode in K. unfold index in K.
      destruct ((0x186 <=? n) && (n <? 0x186 + N.of_nat (gp_count (geo m)))) eqn:B.
      - injection K as <-. apply andb_true_iff in B as (B1 & B2). apply N.leb_le in B1. apply N.ltb_lt in B2. lia.
      - exfalso. repeat match type of K with context [if ?b then _ else _] => destruct b; try discriminate K end. }
    unfold set_sel, set_gctrl, spread, effective. cbn [sel fctrl gctrl status pmc fxc].
    rewrite upd_pad by (rewrite map_length; lia). rewrite upd_map. reflexivity.
  - destruct (_ && _) in D; [| discriminate D]. injection D as <-. reflexivity.
Qed.

Lemma put_nth_twice l : forall v (x y : vm), put_nth (put_nth l v x) v y = put_nth l v y.
Proof. induction l; destruct v; simpl; intros; auto. f_equal. auto. Qed.
Lemma store_twice s v m r n q : store H (store H s v m r) v n q = store H s v n q.
Proof.
  unfold store; cbn [cur owner vms hw apic]. rewrite put_nth_twice. destruct (is (owner s) v); reflexivity.
Qed.

(** The kernel's completion is the policy domain's. *)
Lemma finish_complete s v guest r user :
  cur s = None -> owner s = Some v -> wf (geo (get s v)) r -> vm_ok H (get s v) ->
  sel guest = sel r -> fctrl guest = fctrl r -> gctrl guest = gctrl r ->
  finish H s v guest (load H (get s v) r false) user
  = let '(q, pmi) := complete (geo (get s v)) (pol (get s v)) r user false in
    store H s v (with_latched (get s v) (latched (get s v) || pmi)) q.
Proof.
  intros C O W M S F G. unfold finish. rewrite S, F, G. set (m := get s v) in *.
  assert (E : set_gctrl (load H m r false) (gctrl r) = spread H (effective (geo m) (pol m) r)) by reflexivity.
  rewrite E. clear E. destruct M as (_ & _ & W1 & W2 & _).
  unfold spread at 2. cbn [sel].
  rewrite (count_alike _ _ _ _ _ (credit_pad _ _ _)), (count_spread H (geo m)) by auto.
  unfold complete, counted. change (fctrl (spread H ?e)) with (fctrl e).
  pose proof (counted_wf (geo m) (pol m) r (map (credit_gp user false) (sel (effective (geo m) (pol m) r)))
                [credit_fx user (fctrl (effective (geo m) (pol m) r))] W) as W'.
  unfold counted in W'. destruct (count _ _ _ _) as (c, pmi) eqn:K. cbn [fst snd] in *.
  unfold store. rewrite O, is_refl, C. cbn [is].
  unfold load, gate, spread, effective. cbn [sel fctrl gctrl status pmc fxc set_gctrl with_saved with_latched geo pol].
  destruct W' as [_ P X _ _ _ _ _ _ _]. cbn [pmc fxc] in P, X.
  rewrite !firstn_pad by auto. injection K as <- _. reflexivity.
Qed.

(** ** An approved access is the trapped access: the same answer, and the same state, all of it *)
Theorem approved_is_trapped s v a user t y : inv H s -> step H s (Approved v a user) = Some (t, y) ->
  run H s [Trap v a; Complete v user false] = Some (t, [y; Silent]) /\ y <> Answer GP.
Proof.
  intros I E. cbn [step] in E. destruct (in_kernel H s v a user) as [(t', ans) |] eqn:K; [| discriminate E].
  destruct (match cur s with None => true | Some _ => false end) eqn:C; [| discriminate E].
  destruct (is (owner s) v) eqn:O; [| discriminate E].
  destruct (passthrough (pol (get s v))) eqn:NP; [discriminate E |]. injection E as <- <-.
  assert (C' : cur s = None) by (destruct (cur s); congruence). apply is_spec in O.
  pose proof (inv_hw _ _ I) as A. rewrite O in A. destruct A as (V & A). rewrite C' in A. cbn [is] in A.
  assert (L : Nat.ltb v (length (vms s)) = true) by (apply Nat.ltb_lt; exact V).
  pose proof (inv_vm _ _ I v V) as M. pose proof (inv_regs _ _ I v V) as W.
  assert (SV : sel (saved (get s v)) = sel (view s v) /\ fctrl (saved (get s v)) = fctrl (view s v)
               /\ gctrl (saved (get s v)) = gctrl (view s v))
    by (unfold view; rewrite O, is_refl, C', NP; auto).
  destruct SV as (S & F & G). unfold in_kernel in K. destruct a as [n | n x |]; [| | discriminate K].
  - destruct (control_value _ _ _) as [x |] eqn:X; [| discriminate K]. destruct (hit _ _ _); [| discriminate K]. injection K as <- <-.
    rewrite (control_value_same _ _ _ (view s v)) in X by auto. apply control_read in X.
    split; [| discriminate]. rewrite A, (finish_complete s v _ (view s v)) by auto.
    cbn [run step]. rewrite X, C, L, NP. cbn [andb negb]. rewrite C, L.
    destruct (complete _ _ _ _ _) as (q, pmi). reflexivity.
  - destruct (hit _ _ _) as [h |] eqn:X; [| discriminate K]. injection K as <- <-.
    apply hit_sound in X; [| apply M]. split; [| discriminate].
    pose proof (decide_write _ _ _ _ _ (view s v) X) as D.
    pose proof (access_wf _ _ (Wr n x) W) as W'. rewrite D in W'. cbn [fst] in W'.
    rewrite A, (put_loaded _ _ x) by (auto; apply W).
    destruct (put_control_rest (geo (get s v)) n x (saved (get s v))) as (G1 & _).
    destruct (put_control_rest (geo (get s v)) n x (view s v)) as (G2 & _).
    rewrite (finish_complete s v _ (put_control (geo (get s v)) n x (view s v)));
      auto; [| unfold put_control; destruct (decode _ _) as [[] |]; cbn; congruence .. | congruence].
    cbn [run step]. rewrite D, C, L, NP. cbn [andb negb].
    change (cur (store H s v ?m ?r)) with (cur s). rewrite C.
    replace (length (vms (store H s v (get s v) (put_control (geo (get s v)) n x (view s v))))) with (length (vms s))
      by (symmetry; apply put_nth_length).
    rewrite L, get_store_same, view_store_same by auto. cbn [with_saved geo pol latched andb].
    destruct (complete _ _ _ _ _) as (q, pmi). rewrite store_twice. reflexivity.
Qed.

(** What the kernel records is decided by the policy. *)
Lemma recorded_ok m r n i m' : vm_ok H m -> recorded m r n i = Some m' ->
  vm_ok H m' /\ geo m' = geo m /\ direct m' = direct m /\ pol m' = pol m /\ latched m' = latched m.
Proof.
  intros M E. unfold recorded in E. destruct (control_value _ _ _) as [x |]; [| discriminate E].
  destruct (decide _ _ _ _) as [h |] eqn:D; [| discriminate E]. injection E as <-.
  split; [| auto]. destruct M as (A & B & C & F & G & P & Q).
  do 5 (split; [assumption |]). split; [| exact Q].
  unfold pairs_ok in *. cbn [approved with_approved geo pol]. constructor; auto.
  rewrite Forall_forall in *. intros y Y. apply P. apply in_app_or in Y as [Y | Y].
  - rewrite <- (firstn_skipn i). apply in_or_app. auto.
  - rewrite <- (firstn_skipn (S i)). apply in_or_app. auto.
Qed.
(** The table grows only where nothing is dropped. *)
Lemma recorded_bound m r n i m' : recorded m r n i = Some m' -> (i < length (approved m))%nat ->
  length (approved m') = length (approved m).
Proof.
  intros E L. unfold recorded in E. destruct (control_value _ _ _) as [x |]; [| discriminate E].
  destruct (decide _ _ _ _) as [h |]; [| discriminate E]. injection E as <-.
  change (S (length (firstn i (approved m) ++ skipn (S i) (approved m))) = length (approved m)).
  rewrite app_length, firstn_length, (skipn_length (S i)). lia.
Qed.
End Approved.
