(** * The pure functions as terms: evaluated they are the specification, printed they are SMT-LIB.

    What the solver compares with machine code is the text of a term that is proved equal to the specification
    here. The printer is trusted. *)
From Coq Require Import Arith NArith List Bool String Lia DecimalString Decimal.
From Vpmu Require Import Arch Policy Machine Bits Registers.
Import ListNotations.
Open Scope N_scope.

(** Words of 64 bits over variables. *)
Inductive bv :=
  | Var (n : nat) | Lit (x : N) | And (a b : bv) | Or (a b : bv) | Not (a : bv) | Shl (a : bv) (k : N) | Shr (a : bv) (k : N)
  | Ite (c : cond) (a b : bv)
with cond := Eq (a b : bv) | Le (a b : bv) | Test (a i : bv).

Fixpoint ev (r : nat -> N) (e : bv) : N :=
  match e with
  | Var n => r n
  | Lit x => x
  | And a b => N.land (ev r a) (ev r b)
  | Or a b => N.lor (ev r a) (ev r b)
  | Not a => N.ldiff (N.ones 64) (ev r a)
  | Shl a k => N.land (N.shiftl (ev r a) k) (N.ones 64)
  | Shr a k => N.shiftr (ev r a) k
  | Ite c a b => if evc r c then ev r a else ev r b
  end
with evc (r : nat -> N) (c : cond) : bool :=
  match c with
  | Eq a b => ev r a =? ev r b
  | Le a b => ev r a <=? ev r b
  | Test a i => N.testbit (ev r a) (ev r i)   (** bit i of a *)
  end.

Definition full : N := N.ones 64.
Definition not64 (x : N) : N := N.ldiff full x.
Definition word (x : N) : Prop := fits x full = true.
Lemma land_not64 x m : word x -> N.land x (not64 m) = N.ldiff x m.
Proof.
  unfold word. rewrite fits_spec. intros F. apply N.bits_inj. intro i. specialize (F i).
  unfold not64. rewrite N.land_spec, !N.ldiff_spec.
  destruct (N.testbit x i); auto. rewrite F by auto. reflexivity.
Qed.

(** ** The hardware selector: the guest's value v0; v1 is the word of the filter's table that decides about it

    The table has bit [key] set where the event is permitted: bit v0 mod 64 of word [table_place_term]. *)
Definition table_place_term : bv := And (Shr (Var 0) 6) (Lit 1023).
Theorem table_place_term_ok r : word (r 0%nat) ->
  key (r 0%nat) = 64 * ev r table_place_term + N.land (r 0%nat) 63.
Proof.
  intros _. cbn [ev table_place_term]. unfold key.
  change 0xFFFF with (N.ones 16). change 1023 with (N.ones 10). change 63 with (N.ones 6).
  rewrite !N.land_ones. rewrite N.shiftr_div_pow2.
  change (2 ^ 16) with (64 * 2 ^ 10). change (2 ^ 6) with 64.
  rewrite N.mod_mul_r by discriminate. rewrite N.add_comm. reflexivity.
Qed.
Definition hw_sel_term : bv :=
  Ite (Test (Var 1) (And (Var 0) (Lit 63))) (Var 0) (And (Var 0) (Lit (not64 (N.shiftl 1 EN)))).
Theorem hw_sel_term_ok f r : word (r 0%nat) ->
  N.testbit (r 1%nat) (N.land (r 0%nat) 63) = permitted f (r 0%nat) ->
  ev r hw_sel_term = hw_sel f (r 0%nat).
Proof.
  intros W P. cbn [ev evc hw_sel_term]. rewrite land_not64, P by auto. reflexivity.
Qed.

(** ** The hardware FIXED_CTR_CTRL for 4 counters: v0 the guest's value; v1 has 0xF in each permitted field *)
Definition hw_fctrl_term : bv := And (Var 0) (Var 1).
Fixpoint fields (f : filter) (n : nat) : N :=
  match n with
  | O => 0
  | S k => N.lor (fields f k) (if fixed_permitted f k then N.shiftl 0xF (4 * N.of_nat k) else 0)
  end.
Lemma hw_fctrl_fields f n x : hw_fctrl f n x = N.land x (fields f n).
Proof.
  induction n as [| n IH]; cbn [hw_fctrl fields]; [rewrite N.land_0_r; auto |].
  rewrite IH, N.land_lor_distr_r. f_equal. destruct (fixed_permitted f n); [| rewrite N.land_0_r; auto].
  apply N.bits_inj. intro j. rewrite shiftl_field_spec, N.land_spec, <- andb_assoc. f_equal.
  change 0xF with (N.ones 4). destruct (N.leb_spec (4 * N.of_nat n) j).
  - rewrite N.shiftl_spec_high' by auto. cbn [andb].
    destruct (N.ltb_spec j (4 * N.of_nat n + 4)); symmetry; [apply N.ones_spec_low | apply N.ones_spec_high]; lia.
  - rewrite N.shiftl_spec_low by auto. reflexivity.
Qed.
Theorem hw_fctrl_term_ok f r : r 1%nat = fields f 4 -> ev r hw_fctrl_term = hw_fctrl f 4 (r 0%nat).
Proof. intros E. cbn [ev hw_fctrl_term]. rewrite E, hw_fctrl_fields. reflexivity. Qed.

(** ** A legacy counter write: v0 the value, v1 the mask of the counter's width *)
Definition legacy_low_term : bv :=
  Ite (Test (Var 0) (Lit 31)) (Or (And (Var 0) (Lit (ones 32))) (Lit 0xFFFFFFFF00000000)) (And (Var 0) (Lit (ones 32))).
Definition legacy_term : bv := And legacy_low_term (Var 1).
Lemma ev_legacy_low r : ev r legacy_low_term = sign32 (r 0%nat).
Proof.
  cbn [ev evc legacy_low_term]. unfold sign32.
  rewrite N.land_spec. replace (N.testbit (ones 32) 31) with true by reflexivity. rewrite andb_true_r.
  destruct (N.testbit (r 0%nat) 31); reflexivity.
Qed.
Theorem legacy_term_ok g r : r 1%nat = ones (gp_width g) ->
  ev r legacy_term = N.land (sign32 (r 0%nat)) (ones (gp_width g)).
Proof. intros E. change (ev r legacy_term) with (N.land (ev r legacy_low_term) (r 1%nat)). rewrite ev_legacy_low, E. reflexivity. Qed.

(** ** Masks of valid values *)
(** Bits that a selector must not have: v0 the counter, v1 whether there is TSX. *)
Definition geometry_of (tsx : bool) (gp : nat) (fx : N) : geometry :=
  {| version := 5; gp_count := gp; gp_width := 48; fx_map := fx; fx_width := 48; in_tx := tsx; p6 := true;
     caps := 0 |}.
Definition reserved (tsx : bool) (i : nat) : N := not64 (sel_mask (geometry_of tsx 8 15) i).
Definition reserved_term : bv :=
  Ite (Eq (Var 1) (Lit 0)) (Lit (reserved false 0))
      (Ite (Eq (Var 0) (Lit 2)) (Lit (reserved true 2)) (Lit (reserved true 0))).
Theorem reserved_term_ok g r i x : word x -> r 0%nat = N.of_nat i -> r 1%nat = N.b2n (in_tx g) ->
  (N.land x (ev r reserved_term) =? 0) = fits x (sel_mask g i).
Proof.
  intros W I T. cbn [ev evc reserved_term]. rewrite I, T.
  assert (E : (if N.b2n (in_tx g) =? 0 then reserved false 0
               else if N.of_nat i =? 2 then reserved true 2 else reserved true 0) = not64 (sel_mask g i)).
  { unfold reserved, sel_mask, geometry_of; cbn [in_tx]. destruct (in_tx g); cbn [N.b2n].
    - change (1 =? 0) with false. destruct (N.eqb_spec (N.of_nat i) 2) as [E | E].
      + replace i with 2%nat by lia. reflexivity.
      + replace (Nat.eqb i 2) with false by (symmetry; apply Nat.eqb_neq; lia). reflexivity.
    - reflexivity. }
  rewrite E, land_not64 by auto. reflexivity.
Qed.

(** FIXED_CTR_CTRL: v0 is the map of the counters. *)
Definition fctrl_mask_term : bv :=
  fold_right (fun i e => Or (Ite (Test (Var 0) (Lit i)) (Lit (N.shiftl 0xB (4 * i))) (Lit 0)) e) (Lit 0) [0; 1; 2; 3].
Theorem fctrl_mask_term_ok r g : fx_map g <= 15 -> r 0%nat = fx_map g -> ev r fctrl_mask_term = fctrl_mask g.
Proof.
  intros L E. unfold fctrl_mask, fx_count. cbn [ev evc fctrl_mask_term fold_right]. rewrite E.
  assert (A : In (fx_map g) (map N.of_nat (seq 0 16))).
  { rewrite <- (N2Nat.id (fx_map g)). apply in_map, in_seq. lia. }
  cbn in A. repeat (destruct A as [<- | A]; [reflexivity |]). destruct A.
Qed.

(** GLOBAL_CTRL: v0 general-purpose counters, v1 has a bit for each fixed counter; and STATUS_RESET, of it v0. *)
Definition counter_bits_domain : cond := Le (Var 0) (Lit 32).
Definition counter_bits_term : bv :=
  Or (fold_right (fun k e => Ite (Eq (Var 0) (Lit k)) (Lit (N.ones k)) e) (Lit 0) (map N.of_nat (seq 0 33)))
     (Shl (Var 1) 32).
Theorem counter_bits_term_ok r g : (gp_count g <= 32)%nat -> fits (fx_map g) (ones 32) = true ->
  r 0%nat = N.of_nat (gp_count g) -> r 1%nat = fx_map g -> ev r counter_bits_term = counter_bits g.
Proof.
  intros LG LF G F. unfold counter_bits_term. cbn [ev]. rewrite F. unfold counter_bits. f_equal.
  - unfold gp_bits, ones. remember (gp_count g) as n eqn:N. clear N.
    assert (A : forall l, In (r 0%nat) l ->
      ev r (fold_right (fun k e => Ite (Eq (Var 0) (Lit k)) (Lit (N.ones k)) e) (Lit 0) l) = N.ones (r 0%nat)).
    { induction l as [| k l IH]; [intros [] |]. cbn [fold_right ev evc].
      intros [-> | I]; [rewrite N.eqb_refl; auto |]. destruct (N.eqb_spec (r 0%nat) k) as [-> | D]; auto. }
    rewrite A, G; auto. rewrite G. apply in_map. apply in_seq. lia.
  - apply N.bits_inj. intro j. rewrite N.land_spec, fx_bits_spec. rewrite fits_spec in LF. specialize (LF (j - 32)).
    destruct (N.ltb_spec j 64); [rewrite N.ones_spec_low, andb_true_r by auto; auto |].
    rewrite N.ones_spec_high, andb_false_r by auto. destruct (N.testbit (fx_map g) (j - 32)); [| rewrite andb_false_r; auto].
    specialize (LF eq_refl). unfold ones in LF. rewrite N.ones_spec_high in LF by lia. discriminate LF.
Qed.
Definition status_mask_term : bv := Or (Var 0) (Lit (N.shiftl 3 62)).
Theorem status_mask_term_ok r g : r 0%nat = counter_bits g -> ev r status_mask_term = status_mask g.
Proof. intros E. cbn [ev status_mask_term]. rewrite E. reflexivity. Qed.

(** ** Printing *)
Open Scope string_scope.
Definition dec (n : N) : string := NilEmpty.string_of_uint (N.to_uint n).
Definition lit (x : N) : string := "(_ bv" ++ dec x ++ " 64)".
Fixpoint print (e : bv) : string :=
  match e with
  | Var n => "v" ++ dec (N.of_nat n)
  | Lit x => lit x
  | And a b => "(bvand " ++ print a ++ " " ++ print b ++ ")"
  | Or a b => "(bvor " ++ print a ++ " " ++ print b ++ ")"
  | Not a => "(bvnot " ++ print a ++ ")"
  | Shl a k => "(bvshl " ++ print a ++ " " ++ lit k ++ ")"
  | Shr a k => "(bvlshr " ++ print a ++ " " ++ lit k ++ ")"
  | Ite c a b => "(ite " ++ print_cond c ++ " " ++ print a ++ " " ++ print b ++ ")"
  end
with print_cond (c : cond) : string :=
  match c with
  | Eq a b => "(= " ++ print a ++ " " ++ print b ++ ")"
  | Le a b => "(bvule " ++ print a ++ " " ++ print b ++ ")"
  | Test a i => "(= (bvand (bvlshr " ++ print a ++ " " ++ print i ++ ") " ++ lit 1 ++ ") " ++ lit 1 ++ ")"
  end.
Set Printing Width 1000000.
(** The function of pmu_core; for which inputs; its value. *)
Eval vm_compute in
  [("table_index", ("true", print table_place_term));
   ("hardware_selector", ("true", print hw_sel_term));
   ("hardware_fixed_control", ("true", print hw_fctrl_term));
   ("legacy_counter_value", ("true", print legacy_term));
   ("selector_reserved", (print_cond (Le (Var 1) (Lit 1)), print reserved_term));
   ("fixed_control_allowed", (print_cond (Le (Var 0) (Lit 15)), print fctrl_mask_term));
   ("counter_bits", ("(and " ++ print_cond counter_bits_domain ++ " " ++ print_cond (Le (Var 1) (Lit (ones 32))) ++ ")",
                     print counter_bits_term));
   ("status_allowed", ("true", print status_mask_term))].
