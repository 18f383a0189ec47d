(** * The limit on PMIs that a policy may set: what the policy domain answers when a VMM asks what to do with one.

    It stands beside Machine.v: it reads no register, no register depends on it, and each VM has one of its own. A PMI
    above the limit comes later, at the start of the next window. The VMM keeps one such PMI; those that come meanwhile
    merge with it, as in a local APIC (11.5.1). *)
From Coq Require Import Arith NArith List Bool Lia.
Import ListNotations.
Open Scope N_scope.

(** At most [most] PMIs in each window of [cycles] TSC cycles; both at least 1. *)
Record limit := { most : N; cycles : N }.
Record limiter := {
  start : N;          (** of the window *)
  delivered : N;      (** in it so far *)
  delayed : bool      (** one waits for the next *)
}.
Definition fresh : limiter := {| start := 0; delivered := 0; delayed := false |}.
Inductive decision := Now | After (n : N).   (** in [n] cycles *)

(** The TSC has 64 bits. A time that runs backwards opens a window, too. *)
Definition since (now before : N) : N := (now + 2 ^ 64 - before) mod 2 ^ 64.
Definition opened (l : limit) (s : limiter) (now : N) : limiter :=
  if cycles l <=? since now (start s) then
    let next := (start s + cycles l) mod 2 ^ 64 in
    let recent := delayed s && (since now next <? cycles l) in
    {| start := if recent then next else now; delivered := N.b2n recent; delayed := false |}
  else s.
Definition settle (l : limit) (s : limiter) (now : N) : limiter * decision :=
  if delivered s <? most l
  then ({| start := start s; delivered := delivered s + 1; delayed := delayed s |}, Now)
  else ({| start := start s; delivered := delivered s; delayed := true |}, After (cycles l - since now (start s))).
Definition judge (l : limit) (s : limiter) (now : N) : limiter * decision := settle l (opened l s now) now.

(** ** What the guest gets when PMIs come at the times [ts], and the VMM keeps the delayed one, [w], until it is due *)
Definition due (w : option N) (now : N) : bool := match w with Some t => t <=? now | None => false end.
Fixpoint play (l : limit) (s : limiter) (w : option N) (ts : list N) : list N :=
  let waiting := match w with Some t => [t] | None => [] end in
  match ts with
  | [] => waiting
  | now :: ts =>
      let '(s', d) := judge l s now in
      (if due w now then waiting else [])
      ++ match d with
         | Now => now :: play l s' (if due w now then None else w) ts
         | After n => play l s' (Some (now + n)) ts
         end
  end.
(** Times that do not run backwards, below the TSC's wrap. *)
Fixpoint ordered (l : limit) (from : N) (ts : list N) : Prop :=
  match ts with [] => True | t :: ts => from <= t /\ t + 2 * cycles l < 2 ^ 64 /\ ordered l t ts end.

Section Limit.
Variable l : limit.
Hypothesis some : 1 <= most l.
Hypothesis long : 1 <= cycles l.

Lemma since_le a b : b <= a -> a < 2 ^ 64 -> since a b = a - b.
Proof.
  intros L B. unfold since. replace (a + 2 ^ 64 - b) with (a - b + 1 * 2 ^ 64) by lia.
  rewrite N.mod_add by discriminate. apply N.mod_small. lia.
Qed.

(** Events in windows of [cycles l], one after the other, at most [most l] in each, [d] of the first already gone. *)
Inductive windows : N -> N -> list N -> Prop :=
  | Last a d : windows a d []
  | Inside a d t es : a <= t < a + cycles l -> d + 1 <= most l -> windows a (d + 1) es -> windows a d (t :: es)
  | Next a d b es : a + cycles l <= b -> windows b 0 es -> windows a d es.

(** What the limiter knows of the VMM. *)
Definition agrees (s : limiter) (w : option N) : Prop :=
  delivered s <= most l /\ w = if delayed s then Some (start s + cycles l) else None.

Definition after (now : N) (w : option N) (ts : list N) (x : limiter * decision) : list N :=
  match x with
  | (s, Now) => now :: play l s w ts
  | (s, After n) => play l s (Some (now + n)) ts
  end.
Lemma settle_agrees s w now : agrees s w -> start s <= now < start s + cycles l -> now + 2 * cycles l < 2 ^ 64 ->
  match settle l s now with
  | (s', Now) => agrees s' w /\ start s' = start s /\ delivered s' = delivered s + 1 /\ delivered s + 1 <= most l
  | (s', After n) => agrees s' (Some (now + n)) /\ start s' = start s /\ delivered s' = delivered s
                     /\ now + n = start s + cycles l
  end.
Proof.
  intros (D & W) L B. unfold settle. rewrite since_le by lia.
  destruct (N.ltb_spec (delivered s) (most l)); unfold agrees; cbn [start delivered delayed].
  - repeat split; auto; lia.
  - repeat split; auto; try lia. f_equal. lia.
Qed.
(** What a question does to the window: nothing; or a new one begins, and what was kept is due at or before its start. *)
Lemma opened_agrees s w now : agrees s w -> start s <= now -> now + 2 * cycles l < 2 ^ 64 ->
  let t := opened l s now in
  agrees t (if due w now then None else w) /\ start t <= now < start t + cycles l
  /\ ((t = s /\ due w now = false)
      \/ (start s + cycles l <= start t /\ delivered t = 0 /\ due w now = false)
      \/ (w = Some (start s + cycles l) /\ due w now = true
          /\ (start t = start s + cycles l /\ delivered t = 1
              \/ start s + 2 * cycles l <= start t /\ delivered t = 0))).
Proof.
  intros (D & W) L B. unfold opened, agrees. rewrite since_le by lia. subst w.
  destruct (N.leb_spec (cycles l) (now - start s)) as [O | O]; cbn zeta.
  - rewrite (N.mod_small (start s + cycles l)) by lia.
    destruct (delayed s) eqn:P; cbn [due andb]; [| cbn [start delivered delayed N.b2n]; repeat split; auto; lia].
    rewrite since_le by lia. destruct (N.leb_spec (start s + cycles l) now); [| lia].
    destruct (N.ltb_spec (now - (start s + cycles l)) (cycles l)); cbn [start delivered delayed N.b2n].
    + split; [split; [lia | reflexivity] |]. split; [lia |]. right. right. auto.
    + split; [split; [lia | reflexivity] |]. split; [lia |]. right. right. split; auto. split; auto. right. lia.
  - cbn [delivered start]. destruct (delayed s) eqn:P; cbn [due]; [destruct (N.leb_spec (start s + cycles l) now); [lia |] |];
      repeat split; auto; lia.
Qed.
Lemma ordered_from a b ts : a <= b -> ordered l b ts -> ordered l a ts.
Proof. destruct ts; cbn; auto. intros L (A & B & C). repeat split; auto. lia. Qed.

Lemma play_windows ts : forall s w, agrees s w -> ordered l (start s) ts ->
  windows (start s) (delivered s) (play l s w ts).
Proof.
  induction ts as [| now ts IH]; intros s w A O; cbn [play].
  - destruct A as (_ & ->). destruct (delayed s); [| constructor].
    apply Next with (start s + cycles l); [lia |]. apply Inside; [lia | lia | constructor].
  - destruct O as (L & B & O). destruct (opened_agrees s w now A L B) as (A' & I & C).
    unfold judge. remember (opened l s now) as t eqn:T. clear T.
    set (w' := if due w now then None else w) in *.
    assert (R : windows (start t) (delivered t) (after now w' ts (settle l t now))).
    { pose proof (settle_agrees t w' now A' I B) as S. destruct (settle l t now) as (u, [| n]); cbn [after].
      - destruct S as (U & E & F & G). apply Inside; [exact I | exact G |]. rewrite <- E, <- F.
        apply IH; [exact U |]. apply ordered_from with now; [lia | exact O].
      - destruct S as (U & E & F & _). rewrite <- E, <- F.
        apply IH; [exact U |]. apply ordered_from with now; [lia | exact O]. }
    assert (E : forall es, es = after now w' ts (settle l t now) ->
      (let '(s', d) := settle l t now in
       (if due w now then match w with Some t => [t] | None => [] end else [])
       ++ match d with Now => now :: play l s' w' ts | After n => play l s' (Some (now + n)) ts end)
      = (if due w now then match w with Some t => [t] | None => [] end else []) ++ es).
    { intros es ->. destruct (settle l t now) as (u, [| n]); reflexivity. }
    rewrite (E _ eq_refl). clear E. revert R. generalize (after now w' ts (settle l t now)). intros es R.
    destruct C as [(-> & ->) | [(G & Z & ->) | (-> & -> & C)]]; cbn [app].
    + exact R.
    + rewrite Z in R. apply Next with (start t); auto.
    + apply Next with (start s + cycles l); [lia |]. apply Inside; [lia | lia |].
      destruct C as [(E & F) | (E & F)]; rewrite F in R; [rewrite E in R; exact R |].
      apply Next with (start t); [lia | exact R].
Qed.
(** Windows of [cycles l], at most [most l] PMIs in each. *)
Theorem limit_holds ts : ordered l 0 ts -> windows 0 0 (play l fresh None ts).
Proof. intros O. apply (play_windows ts fresh None); [split; [cbn; lia | reflexivity] | exact O]. Qed.

(** So no [cycles l] cycles, wherever they begin, have more than twice as many. *)
Definition between (a b : N) (es : list N) : nat := length (List.filter (fun t => (a <=? t) && (t <? b)) es).
Lemma between_cons a b t es : between a b (t :: es) = (Nat.b2n ((a <=? t)%N && (t <? b)%N) + between a b es)%nat.
Proof. unfold between. cbn. destruct (_ && _); reflexivity. Qed.
Lemma bounded x a d es : windows a d es -> d <= most l ->
  (x + cycles l <= a -> between x (x + cycles l) es = 0%nat)
  /\ (x <= a -> N.of_nat (between x (x + cycles l) es) + d <= most l)
  /\ N.of_nat (between x (x + cycles l) es) + (if x <? a + cycles l then d else 0) <= 2 * most l.
Proof.
  induction 1 as [a d | a d t es T M W IH | a d b es L W IH]; intros D.
  - change (between x (x + cycles l) []) with 0%nat. change (N.of_nat 0) with 0.
    destruct (x <? a + cycles l); repeat split; lia.
  - specialize (IH M). destruct IH as (I1 & I2 & I3). rewrite between_cons.
    destruct (N.leb_spec x t), (N.ltb_spec t (x + cycles l)), (N.ltb_spec x (a + cycles l)); cbn [andb Nat.b2n Nat.add];
      repeat split; intros; try lia; try (rewrite I1 by lia); try (specialize (I2 ltac:(lia))); lia.
  - destruct IH as (I1 & I2 & I3); [lia |]. repeat split; intros.
    + apply I1. lia.
    + rewrite I1 by lia. change (N.of_nat 0) with 0. lia.
    + destruct (N.ltb_spec x (a + cycles l)); [specialize (I2 ltac:(lia)); lia |].
      destruct (N.ltb_spec x (b + cycles l)); lia.
Qed.
Theorem limit_bounds ts x : ordered l 0 ts ->
  N.of_nat (between x (x + cycles l) (play l fresh None ts)) <= 2 * most l.
Proof.
  intros O. destruct (bounded x 0 0 _ (limit_holds ts O)) as (_ & _ & B); [lia |].
  destruct (x <? 0 + cycles l); lia.
Qed.

(** None is lost: each comes when asked about, or at most [cycles l] later. *)
Lemma kept ts : forall s w t, agrees s w -> ordered l (start s) ts -> w = Some t -> In t (play l s w ts).
Proof.
  induction ts as [| now ts IH]; intros s w t A O E; cbn [play]; [rewrite E; left; reflexivity |].
  destruct O as (L & B & O). destruct (opened_agrees s w now A L B) as (A' & I & C). unfold judge.
  pose proof (settle_agrees _ _ now A' I B) as S. subst w. destruct (due (Some t) now) eqn:D.
  { destruct (settle l (opened l s now) now). left. reflexivity. }
  assert (T : t = start s + cycles l) by (destruct A as (_ & A); destruct (delayed s); congruence).
  assert (F : opened l s now = s).
  { destruct C as [(F & _) | [(X & _ & _) | (_ & X & _)]]; [exact F | | discriminate X].
    (* a new window begins only when what is kept is due *)
    cbn in D. apply N.leb_gt in D. lia. }
  rewrite F in S. rewrite F. destruct (settle l s now) as (u, [| n]); cbn [app].
  - right. destruct S as (U & E & _). apply IH; auto. rewrite E. apply ordered_from with now; [lia | exact O].
  - destruct S as (U & E & _ & G). apply IH; [exact U | | f_equal; lia].
    rewrite E. apply ordered_from with now; [lia | exact O].
Qed.
Lemma none_lost_from ts : forall s w, agrees s w -> ordered l (start s) ts -> forall now, In now ts ->
  exists t, In t (play l s w ts) /\ now <= t <= now + cycles l.
Proof.
  induction ts as [| x ts IH]; intros s w A O now Q; [destruct Q |]. cbn [play].
  destruct O as (L & B & O). destruct (opened_agrees s w x A L B) as (A' & I & _). unfold judge.
  set (w' := if due w x then None else w) in *.
  pose proof (settle_agrees _ _ x A' I B) as S.
  assert (T : exists t, In t (after x w' ts (settle l (opened l s x) x)) /\ now <= t <= now + cycles l).
  { destruct (settle l (opened l s x) x) as (u, [| n]); cbn [after].
    - destruct S as (U & E & _ & _). assert (OU : ordered l (start u) ts) by (apply ordered_from with x; [lia | exact O]).
      destruct Q as [<- | Q]; [exists x; split; [left; reflexivity | lia] |].
      destruct (IH u w' U OU now Q) as (t & T & R). exists t. split; [right; exact T | exact R].
    - destruct S as (U & E & _ & G). assert (OU : ordered l (start u) ts) by (apply ordered_from with x; [lia | exact O]).
      destruct Q as [<- | Q]; [exists (x + n); split; [apply kept; auto | lia] |]. apply (IH u _ U OU now Q). }
  destruct T as (t & T & R). exists t. split; [| exact R]. revert T. fold w'.
  destruct (settle l (opened l s x) x) as (u, [| n]); intros T; apply in_or_app; right; exact T.
Qed.
Theorem none_lost ts now : ordered l 0 ts -> In now ts ->
  exists t, In t (play l fresh None ts) /\ now <= t <= now + cycles l.
Proof. intros O Q. apply (none_lost_from ts fresh None); auto. split; [cbn; lia | reflexivity]. Qed.
End Limit.
