(** * Theorems: PMIs, none lost, doubled or misdelivered. *)
From Coq Require Import Arith NArith List Bool Lia.
From Vpmu Require Import Arch Policy Machine Bits Registers Invariant Approved Local Permitted Isolated.
Import ListNotations.
Open Scope N_scope.

Section Pmi.
Variable H : geometry.

(** Whether a counter of this VM with INT set wraps in this operation. *)
Definition raises (l : local) (o : op) : bool :=
  match o with
  | Tick _ gps fxs => snd (counted (l_geo l) (l_pol l) (l_view l) gps fxs)
  | Complete _ user branch => snd (complete (l_geo l) (l_pol l) (l_view l) user branch)
  | Approved _ a user => snd (complete (l_geo l) (l_pol l) (fst (do_access (l_geo l) (l_view l) a)) user false)
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
  intros E N. destruct o as [v | v | v gps fxs | v a | v a | v n i | v a user | v user branch | | v | v | v f | v | v r p]; cbn [local_step raises is_restore] in *; try discriminate N.
  1, 2, 6, 9, 11, 12, 13: repeat match type of E with (if ?b then _ else _) = _ => destruct b; [| discriminate E]
                                            | Some _ = _ => fail end;
    try destruct (mediated _ _ && negb _) in E; injection E as <- _; reflexivity.
  - destruct (counted _ _ _ _ _) as (r, q). destruct (l_runs l); [| discriminate E]. injection E as <- _.
    simpl. destruct q, (l_pending l); reflexivity.
  - destruct (do_access _ _ _) as (r, q). destruct (l_runs l && l_direct l); [| discriminate E]. injection E as <- _. reflexivity.
  - destruct (do_access _ _ _) as (r, q). destruct (negb (l_runs l)); [| discriminate E]. injection E as <- _. reflexivity.
  - destruct (do_access _ _ _) as (r, y). cbn [fst]. destruct (complete _ _ _ _ _) as (r', q).
    destruct (negb (l_runs l)); [| discriminate E]. injection E as <- _. simpl. destruct q, (l_pending l); reflexivity.
  - destruct (complete _ _ _ _ _) as (r, q). destruct (negb (l_runs l)); [| discriminate E]. injection E as <- _.
    simpl. destruct q, (l_pending l); reflexivity.
  - destruct (negb (l_runs l)); [| discriminate E]. destruct (l_pending l); [| discriminate E]. injection E as <- _. reflexivity.
Qed.
(** For each VM, over any run: raised + pending before = delivered + pending after. *)
Theorem pmi_account cs s os t xs v : reached H cs s -> valid s v -> run H s os = Some (t, xs) ->
  forallb (fun o => negb (is_restore o)) (own v os) = true ->
  (raised (localize s v) (own v os) + Nat.b2n (pending s v) = delivered (own v os) + Nat.b2n (pending t v))%nat.
Proof.
  intros R V E N. apply inv_reached in R. pose proof (isolation H os s t xs v R V E) as A.
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
Theorem pmi_once cs s v t x : reached H cs s -> step H s (Deliver v) = Some (t, x) ->
  pending s v = true /\ pending t v = false.
Proof.
  intros R E. apply inv_reached in R. pose proof (simulation H _ _ _ _ R E) as (_ & _ & A).
  cbn [step] in E. destruct (match cur s with None => true | Some _ => false end); [| discriminate E].
  destruct (Nat.ltb v (length (vms s))) eqn:V; [| discriminate E]. destruct (pending s v) eqn:P; [| discriminate E].
  split; auto. specialize (A v (valid_ltb s v V)). cbn [domain] in A. rewrite is_refl in A.
  cbn in A. rewrite P in A. destruct (negb (is (cur s) v)); [| discriminate A].
  symmetry. exact (f_equal (fun y => match y with Some (l, _) => l_pending l | None => true end) A).
Qed.
End Pmi.
