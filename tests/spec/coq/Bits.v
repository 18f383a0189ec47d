(** * Lemmas about words and lists. Nothing here is about PMUs. *)
From Coq Require Import Arith NArith List Bool Lia.
From Vpmu Require Import Arch Policy Machine.
Import ListNotations.
Open Scope N_scope.
Global Arguments N.add : simpl never.
Global Arguments N.sub : simpl never.
Global Arguments N.mul : simpl never.
Global Arguments N.testbit : simpl never.
Global Arguments N.land : simpl never.
Global Arguments N.lor : simpl never.
Global Arguments N.ldiff : simpl never.
Global Arguments N.shiftl : simpl never.
Global Arguments N.shiftr : simpl never.
Global Arguments N.ones : simpl never.
Global Arguments N.of_nat : simpl never.
Global Arguments N.ltb : simpl never.
Global Arguments N.leb : simpl never.
Global Arguments N.eqb : simpl never.

Lemma fits_spec x m : fits x m = true <-> forall i, N.testbit x i = true -> N.testbit m i = true.
Proof.
  unfold fits. rewrite N.eqb_eq. split.
  - intros E i X. assert (Z : N.testbit (N.ldiff x m) i = false) by (rewrite E; apply N.bits_0).
    rewrite N.ldiff_spec, X in Z. destruct (N.testbit m i); auto.
  - intros A. apply N.bits_inj. intro i. rewrite N.ldiff_spec, N.bits_0.
    specialize (A i). destruct (N.testbit x i), (N.testbit m i); auto. discriminate A; auto.
Qed.
Lemma fits_0 m : fits 0 m = true.
Proof. apply fits_spec. intros i. rewrite N.bits_0. discriminate. Qed.
Lemma fits_self m : fits m m = true.
Proof. apply fits_spec. auto. Qed.
Lemma fits_trans x a b : fits x a = true -> fits a b = true -> fits x b = true.
Proof. rewrite !fits_spec. auto. Qed.
Lemma fits_lor x y m : fits x m = true -> fits y m = true -> fits (N.lor x y) m = true.
Proof. rewrite !fits_spec. intros A B i. rewrite N.lor_spec, orb_true_iff. intuition. Qed.
Lemma fits_lor_l x a b : fits x a = true -> fits x (N.lor a b) = true.
Proof. rewrite !fits_spec. intros A i X. rewrite N.lor_spec, A; auto. Qed.
Lemma fits_lor_r x a b : fits x b = true -> fits x (N.lor a b) = true.
Proof. rewrite !fits_spec. intros A i X. rewrite N.lor_spec, A, orb_true_r; auto. Qed.
Lemma fits_land x m : fits (N.land x m) m = true.
Proof. apply fits_spec. intros i. rewrite N.land_spec, andb_true_iff. intuition. Qed.
Lemma fits_ldiff x y m : fits x m = true -> fits (N.ldiff x y) m = true.
Proof. rewrite !fits_spec. intros A i. rewrite N.ldiff_spec, andb_true_iff. intuition. Qed.
Lemma fits_clearbit x n m : fits x m = true -> fits (N.clearbit x n) m = true.
Proof. rewrite !fits_spec. intros A i. rewrite N.clearbit_eqb, andb_true_iff. intuition. Qed.

Lemma bit_spec b n i : N.testbit (bit b n) i = b && (n =? i).
Proof.
  unfold bit. destruct b; [| apply N.bits_0]. rewrite N.shiftl_1_l, N.pow2_bits_eqb. reflexivity.
Qed.

Lemma upd_length l : forall i x, length (upd l i x) = length l.
Proof. induction l; destruct i; simpl; intros; auto. Qed.
Lemma upd_same l : forall i x, (i < length l)%nat -> rd (upd l i x) i = x.
Proof. unfold rd. induction l; destruct i; simpl; intros; auto; try lia. apply IHl. lia. Qed.
Lemma upd_other l : forall i j x, i <> j -> rd (upd l i x) j = rd l j.
Proof. unfold rd. induction l; destruct i, j; simpl; intros; auto; try congruence. Qed.
Lemma upd_map f l : forall i x, map f (upd l i x) = upd (map f l) i (f x).
Proof. induction l; destruct i; simpl; intros; auto. f_equal; auto. Qed.
Lemma upd_forallb f l : forall i x, forallb f l = true -> f x = true -> forallb f (upd l i x) = true.
Proof.
  induction l; destruct i; simpl; intros x A B; auto; apply andb_true_iff in A as (A1 & A2);
  apply andb_true_iff; split; auto.
Qed.
Lemma all_i_spec f l : forall k, all_i f k l = true <-> (forall i, (i < length l)%nat -> f (k + i)%nat (rd l i) = true).
Proof.
  unfold rd. induction l; intros k; simpl.
  - split; auto. intros _ i I. lia.
  - rewrite andb_true_iff, IHl. split.
    + intros (A & B) [| i] I; [rewrite Nat.add_0_r; auto |]. rewrite Nat.add_succ_r. apply (B i). lia.
    + intros A. split; [specialize (A 0%nat); rewrite Nat.add_0_r in A; apply A; lia |].
      intros i I. specialize (A (S i)). rewrite Nat.add_succ_r in A. apply A. lia.
Qed.
Lemma upd_all_i f l i x :
  all_i f 0 l = true -> f i x = true -> all_i f 0 (upd l i x) = true.
Proof.
  rewrite !all_i_spec. intros A B j J. rewrite upd_length in J. simpl in *.
  destruct (Nat.eq_dec i j) as [<- | D]; [rewrite upd_same; auto | rewrite upd_other; auto].
Qed.

Lemma put_nth_length l : forall v x, length (put_nth l v x) = length l.
Proof. induction l; destruct v; simpl; intros; auto. Qed.
Lemma put_nth_same l : forall v x d, (v < length l)%nat -> nth v (put_nth l v x) d = x.
Proof. induction l; destruct v; simpl; intros; auto; try lia. apply IHl. lia. Qed.
Lemma put_nth_other l : forall v w x d, v <> w -> nth w (put_nth l v x) d = nth w l d.
Proof. induction l; destruct v, w; simpl; intros; auto; try congruence. Qed.

Lemma pad_length n l : (length l <= n)%nat -> length (pad n l) = n.
Proof. intros. unfold pad. rewrite app_length, repeat_length. lia. Qed.
Lemma pad_id l : pad (length l) l = l.
Proof. unfold pad. rewrite Nat.sub_diag. apply app_nil_r. Qed.
Lemma firstn_pad n k l : length l = k -> firstn k (pad n l) = l.
Proof.
  intros <-. unfold pad. rewrite firstn_app, firstn_all, Nat.sub_diag, firstn_O, app_nil_r. reflexivity.
Qed.
Lemma rd_repeat0 k i : rd (repeat 0 k) i = 0.
Proof. unfold rd. revert i. induction k; destruct i; simpl; auto. Qed.
Lemma rd_pad n l i : rd (pad n l) i = rd l i.
Proof.
  unfold rd, pad. destruct (Nat.lt_ge_cases i (length l)).
  - apply app_nth1. auto.
  - rewrite app_nth2, (nth_overflow l) by auto. apply (rd_repeat0 _ (i - length l)).
Qed.
Lemma rd_overflow l i : (length l <= i)%nat -> rd l i = 0.
Proof. apply nth_overflow. Qed.
Lemma rd_map f l i : (i < length l)%nat -> rd (map f l) i = f (rd l i).
Proof. unfold rd. intros. rewrite nth_indep with (d' := f 0) by (rewrite map_length; auto). apply map_nth. Qed.

Lemma is_spec o v : is o v = true <-> o = Some v.
Proof.
  destruct o; simpl; [rewrite Nat.eqb_eq |]; split; congruence.
Qed.
Lemma is_some v w : is (Some v) w = Nat.eqb v w.
Proof. reflexivity. Qed.
Lemma is_refl v : is (Some v) v = true.
Proof. apply Nat.eqb_refl. Qed.

Lemma field_spec x i j : N.testbit (field x i) j = N.testbit x (j + 4 * N.of_nat i) && (j <? 4).
Proof.
  unfold field. rewrite N.land_spec, N.shiftr_spec' . f_equal.
  change 0xF with (N.ones 4). destruct (N.ltb_spec j 4).
  - apply N.ones_spec_low. auto.
  - apply N.ones_spec_high. auto.
Qed.
Lemma shiftl_field_spec x i j :
  N.testbit (N.shiftl (field x i) (4 * N.of_nat i)) j
  = N.testbit x j && (4 * N.of_nat i <=? j) && (j <? 4 * N.of_nat i + 4).
Proof.
  destruct (N.leb_spec (4 * N.of_nat i) j) as [L | L].
  - rewrite N.shiftl_spec_high', field_spec by auto. rewrite N.sub_add, andb_true_r by auto. f_equal.
    destruct (N.ltb_spec (j - 4 * N.of_nat i) 4), (N.ltb_spec j (4 * N.of_nat i + 4)); auto; lia.
  - rewrite N.shiftl_spec_low by auto. rewrite andb_false_r. reflexivity.
Qed.
(** Each field of the hardware value is the guest's or 0. *)
Lemma hw_fctrl_spec f n x j :
  N.testbit (hw_fctrl f n x) j
  = N.testbit x j && (j <? 4 * N.of_nat n) && fixed_permitted f (N.to_nat (j / 4)).
Proof.
  induction n as [| n IH]; cbn [hw_fctrl].
  - rewrite N.bits_0. destruct (N.ltb_spec j (4 * N.of_nat 0)); [simpl in *; lia |]. rewrite andb_false_r. auto.
  - rewrite N.lor_spec, IH.
    assert (D : (4 * N.of_nat n <=? j) && (j <? 4 * N.of_nat n + 4) = true -> j / 4 = N.of_nat n).
    { rewrite andb_true_iff, N.leb_le, N.ltb_lt. intros.
      symmetry. apply (N.div_unique j 4 (N.of_nat n) (j - 4 * N.of_nat n)); lia. }
    assert (E : N.testbit (if fixed_permitted f n then N.shiftl (field x n) (4 * N.of_nat n) else 0) j
                = N.testbit x j && ((4 * N.of_nat n <=? j) && (j <? 4 * N.of_nat n + 4)) && fixed_permitted f (N.to_nat (j / 4))).
    { destruct ((4 * N.of_nat n <=? j) && (j <? 4 * N.of_nat n + 4)) eqn:I.
      - rewrite (D eq_refl), Nat2N.id, andb_true_r.
        destruct (fixed_permitted f n); [rewrite shiftl_field_spec, <- andb_assoc, I; auto | rewrite N.bits_0, andb_false_r; auto].
      - rewrite andb_false_r. simpl. destruct (fixed_permitted f n); [| apply N.bits_0].
        rewrite shiftl_field_spec, <- andb_assoc, I. apply andb_false_r. }
    rewrite E.
    destruct (N.testbit x j), (fixed_permitted f (N.to_nat (j / 4))); cbn [andb]; rewrite ?andb_false_r, ?andb_true_r; auto.
    rewrite Nat2N.inj_succ.
    destruct (N.ltb_spec j (4 * N.of_nat n)), (N.leb_spec (4 * N.of_nat n) j), (N.ltb_spec j (4 * N.of_nat n + 4)), (N.ltb_spec j (4 * N.succ (N.of_nat n))); simpl; auto; lia.
Qed.
