(** * The invariant of the machine, kept by every operation. *)
From Coq Require Import Arith NArith List Bool Lia.
From Vpmu Require Import Arch Policy Machine Bits Registers.
Import ListNotations.
Open Scope N_scope.

Section Invariant.
Variable H : geometry.

(** Every approved pair is what the present policy and geometry decide. *)
Definition pairs_ok (m : vm) : Prop :=
  Forall (fun '(n, x, h) => decide (geo m) (pol m) n x = Some h) (approved m).
Definition vm_ok (m : vm) : Prop :=
  (gp_count (geo m) <= gp_count H)%nat /\ fits (fx_map (geo m)) (fx_map H) = true
  /\ gp_width (geo m) = gp_width H /\ fx_width (geo m) = fx_width H /\ (direct m = true -> same_data H (geo m))
  /\ pairs_ok m /\ (passthrough (pol m) = true -> same_control H (geo m)).
Definition valid (s : machine) (v : nat) : Prop := (v < length (vms s))%nat.

Record inv (s : machine) : Prop := {
  inv_vm : forall v, valid s v -> vm_ok (get s v);
  inv_regs : forall v, valid s v -> wf (geo (get s v)) (view s v);
  inv_cur : forall v, cur s = Some v -> owner s = Some v;
  (** what is in the hardware: the owner's registers, its control registers filtered; GLOBAL_CTRL only while
      it runs; nothing at all where nobody owns it *)
  inv_hw : match owner s with
           | Some v => valid s v /\ hw s = load H (get s v) (view s v) (is (cur s) v)
           | None => hw s = off H /\ apic s = false
           end
}.

(** ** The parts of a state after [store], [take], [evict] *)
Lemma get_store_same s v m r : valid s v -> get (store H s v m r) v = with_saved m r.
Proof. apply put_nth_same. Qed.
Lemma get_store_other s v w m r : v <> w -> get (store H s v m r) w = get s w.
Proof. apply put_nth_other. Qed.
Lemma valid_store s v m r w : valid (store H s v m r) w <-> valid s w.
Proof. unfold valid, store. simpl. rewrite put_nth_length. reflexivity. Qed.

(** Reading the hardware registers of a loaded VM gives back what was loaded. *)
Lemma unload m r on :
  wf (geo m) r -> firstn (gp_count (geo m)) (pmc (load H m r on)) = pmc r
              /\ firstn (fx_count (geo m)) (fxc (load H m r on)) = fxc r
              /\ status (load H m r on) = status r
              /\ (passthrough (pol m) = true -> firstn (gp_count (geo m)) (sel (load H m r on)) = sel r
                                              /\ fctrl (load H m r on) = fctrl r).
Proof.
  intros W. pose proof W as []. split; [| split; [| split]]; try (intros P; unfold load; rewrite effective_raw by auto);
    simpl; rewrite ?firstn_pad by auto; auto.
Qed.
Lemma regs_eta (r : regs) :
  {| sel := sel r; fctrl := fctrl r; gctrl := gctrl r; status := status r; pmc := pmc r; fxc := fxc r |} = r.
Proof. destruct r; reflexivity. Qed.

Lemma view_store_same s v m r : valid s v -> wf (geo m) r -> view (store H s v m r) v = r.
Proof.
  intros V W. unfold view. rewrite get_store_same by auto. unfold store; cbn [owner cur hw].
  destruct (is (owner s) v) eqn:O; auto.
  change (geo (with_saved m r)) with (geo m). cbn [saved with_saved].
  change (pol (with_saved m r)) with (pol m).
  destruct (unload m r (is (cur s) v) W) as (-> & -> & -> & R).
  destruct (passthrough (pol m)); [destruct R as (-> & ->); auto |]; destruct (is (cur s) v); simpl; apply regs_eta.
Qed.
Lemma view_store_other s v w m r : v <> w -> view (store H s v m r) w = view s w.
Proof.
  intros D. unfold view. rewrite get_store_other by auto. unfold store; cbn [owner cur hw].
  destruct (is (owner s) w) eqn:O; auto.
  replace (is (owner s) v) with false; auto.
  apply is_spec in O. rewrite O, is_some. symmetry. apply Nat.eqb_neq. auto.
Qed.

Lemma get_take s v : valid s v -> geo (get (take s) v) = geo (get s v) /\ direct (get (take s) v) = direct (get s v)
  /\ pol (get (take s) v) = pol (get s v) /\ saved (get (take s) v) = saved (get s v)
  /\ approved (get (take s) v) = approved (get s v).
Proof.
  intros V. unfold take. destruct (owner s) as [o |]; auto 10. unfold get; cbn [vms].
  destruct (Nat.eq_dec o v) as [<- | D]; [rewrite put_nth_same | rewrite put_nth_other]; auto.
Qed.
Lemma valid_take s v : valid (take s) v <-> valid s v.
Proof. unfold valid, take. destruct (owner s); simpl; rewrite ?put_nth_length; reflexivity. Qed.
Lemma take_parts s : cur (take s) = cur s /\ owner (take s) = owner s /\ hw (take s) = hw s.
Proof. unfold take. destruct (owner s) eqn:O; cbn; rewrite ?O; auto. Qed.
Lemma view_take s v : valid s v -> view (take s) v = view s v.
Proof.
  intros V. unfold view. destruct (take_parts s) as (-> & -> & ->).
  destruct (get_take s v V) as (-> & _ & -> & -> & _). reflexivity.
Qed.
Lemma apic_take s : inv s -> apic (take s) = false.
Proof. intros []. unfold take. destruct (owner s); auto. apply inv_hw0. Qed.
Lemma latched_take s v : valid s v -> latched (get (take s) v) = pending s v.
Proof.
  intros V. unfold take, pending. destruct (owner s) as [o |]; simpl; [| rewrite orb_false_r; auto].
  unfold get; cbn [vms]. destruct (Nat.eqb_spec o v) as [<- | D].
  - rewrite put_nth_same by auto. reflexivity.
  - rewrite put_nth_other by auto. simpl. rewrite orb_false_r. reflexivity.
Qed.

Lemma valid_evict s v : valid (evict H s) v <-> valid s v.
Proof.
  unfold evict. destruct (owner s); [| reflexivity]. unfold valid; cbn [vms].
  rewrite put_nth_length. apply (valid_take s v).
Qed.
Lemma evict_parts s : owner (evict H s) = None /\ cur (evict H s) = cur s.
Proof. unfold evict. destruct (owner s) eqn:E; auto. Qed.
Lemma get_evict s v : valid s v -> geo (get (evict H s) v) = geo (get s v)
  /\ direct (get (evict H s) v) = direct (get s v) /\ pol (get (evict H s) v) = pol (get s v)
  /\ approved (get (evict H s) v) = approved (get s v).
Proof.
  intros V. unfold evict. destruct (owner s) as [o |]; auto.
  destruct (get_take s v V) as (<- & <- & <- & _ & <-). set (t := take s).
  assert (X : valid t v) by (apply valid_take; auto). unfold get; cbn [vms].
  destruct (Nat.eq_dec o v) as [<- | N]; [rewrite put_nth_same | rewrite put_nth_other]; auto.
Qed.
Lemma view_evict s v : valid s v -> view (evict H s) v = view s v.
Proof.
  intros V. unfold evict. destruct (owner s) as [o |] eqn:O; auto.
  unfold view at 1; cbn [owner is]. unfold get at 1; cbn [vms].
  destruct (Nat.eq_dec o v) as [<- | N].
  - rewrite put_nth_same by (apply valid_take; auto). cbn [saved with_saved]. apply view_take. auto.
  - rewrite put_nth_other by auto. fold (get (take s) v).
    destruct (get_take s v V) as (_ & _ & _ & -> & _). unfold view.
    rewrite O, is_some. destruct (Nat.eqb_spec o v); congruence.
Qed.
Lemma pending_evict s v : valid s v -> pending (evict H s) v = pending s v.
Proof.
  intros V. unfold pending at 1. destruct (evict_parts s) as (-> & _). cbn [is andb]. rewrite orb_false_r.
  rewrite <- latched_take by auto. unfold evict. destruct (owner s) as [o |] eqn:O.
  - unfold get at 1; cbn [vms]. destruct (Nat.eq_dec o v) as [<- | N].
    + rewrite put_nth_same by (apply valid_take; auto). reflexivity.
    + rewrite put_nth_other by auto. reflexivity.
  - unfold take. rewrite O. reflexivity.
Qed.

(** ** Each operation keeps the invariant *)
Lemma inv_store s v m r : inv s -> valid s v -> vm_ok m -> wf (geo m) r -> inv (store H s v m r).
Proof.
  intros I V M W. pose proof I as []. constructor.
  - intros w X. apply (proj1 (valid_store s v m r w)) in X. destruct (Nat.eq_dec v w) as [<- | D].
    + rewrite get_store_same by auto. exact M.
    + rewrite get_store_other by auto. auto.
  - intros w X. apply (proj1 (valid_store s v m r w)) in X. destruct (Nat.eq_dec v w) as [<- | D].
    + rewrite get_store_same, view_store_same by auto. exact W.
    + rewrite get_store_other, view_store_other by auto. auto.
  - exact inv_cur0.
  - change (owner (store H s v m r)) with (owner s). destruct (owner s) as [o |] eqn:O.
    + destruct inv_hw0 as (VO & E). split; [apply valid_store; auto |].
      change (cur (store H s v m r)) with (cur s).
      change (hw (store H s v m r)) with (if is (owner s) v then load H m r (is (cur s) v) else hw s).
      rewrite O, is_some. destruct (Nat.eqb_spec o v) as [-> | D].
      * rewrite get_store_same, view_store_same by auto. reflexivity.
      * rewrite get_store_other, view_store_other by auto. exact E.
    + unfold store; cbn [hw apic]. rewrite O. exact inv_hw0.
Qed.

Lemma load_latched m b r on : load H (with_latched m b) r on = load H m r on.
Proof. reflexivity. Qed.
Lemma load_ext m m' r on : geo m = geo m' -> pol m = pol m' -> load H m r on = load H m' r on.
Proof. intros E F. unfold load. rewrite E, F. reflexivity. Qed.
Lemma vm_ok_ext m m' : geo m = geo m' -> direct m = direct m' -> pol m = pol m' -> approved m = approved m' ->
  vm_ok m -> vm_ok m'.
Proof. unfold vm_ok, pairs_ok. intros -> -> -> ->. auto. Qed.
Lemma vm_ok_withdrawn m m' : geo m = geo m' -> direct m = direct m' -> ( passthrough (pol m') = true -> same_control H (geo m')) -> vm_ok m -> vm_ok (withdrawn m').
Proof. unfold vm_ok, pairs_ok. cbn [withdrawn with_approved geo direct pol approved]. intros <- <-. intuition. Qed.

Lemma inv_take s : inv s -> inv (take s).
Proof.
  intros I. pose proof (apic_take s I) as A. pose proof I as [].
  destruct (take_parts s) as (C & O & E). constructor.
  - intros v V. apply (proj1 (valid_take s v)) in V. destruct (get_take s v V) as (G & D & P & _ & A').
    apply vm_ok_ext with (get s v); auto.
  - intros v V. apply (proj1 (valid_take s v)) in V. rewrite view_take by auto.
    destruct (get_take s v V) as (-> & _). auto.
  - rewrite C, O. auto.
  - rewrite O, E, C, A. destruct (owner s) as [o |]; [| tauto]. destruct inv_hw0 as (V & E').
    split; [apply valid_take; auto |]. rewrite view_take, E' by auto.
    destruct (get_take s o V) as (G & _ & P & _). apply load_ext; auto.
Qed.
(** Replacing the latch changes nothing else. *)
Definition relatched (s : machine) (v : nat) (b : bool) : machine :=
  {| cur := cur s; owner := owner s; vms := put_nth (vms s) v (with_latched (get s v) b);
     hw := hw s; apic := apic s |}.
Lemma get_relatched s v b w : valid s v ->
  geo (get (relatched s v b) w) = geo (get s w) /\ direct (get (relatched s v b) w) = direct (get s w)
  /\ pol (get (relatched s v b) w) = pol (get s w) /\ saved (get (relatched s v b) w) = saved (get s w)
  /\ approved (get (relatched s v b) w) = approved (get s w).
Proof.
  intros V. unfold get, relatched; cbn [vms].
  destruct (Nat.eq_dec v w) as [<- | D]; [rewrite put_nth_same | rewrite put_nth_other]; auto.
Qed.
Lemma view_relatched s v b w : valid s v -> view (relatched s v b) w = view s w.
Proof.
  intros V. unfold view. destruct (get_relatched s v b w V) as (-> & _ & -> & -> & _). reflexivity.
Qed.
Lemma latched_relatched s v b w : valid s v ->
  latched (get (relatched s v b) w) = if Nat.eqb v w then b else latched (get s w).
Proof.
  intros V. unfold get, relatched; cbn [vms].
  destruct (Nat.eqb_spec v w) as [<- | D]; [rewrite put_nth_same | rewrite put_nth_other]; auto.
Qed.
Lemma valid_relatched s v b w : valid (relatched s v b) w <-> valid s w.
Proof. unfold valid, relatched; cbn [vms]. rewrite put_nth_length. reflexivity. Qed.
Lemma inv_relatched s v b : inv s -> valid s v -> inv (relatched s v b).
Proof.
  intros [] V. constructor.
  - intros w X. apply (proj1 (valid_relatched s v b w)) in X. destruct (get_relatched s v b w V) as (G & D & P & _ & A).
    apply vm_ok_ext with (get s w); auto.
  - intros w X. apply (proj1 (valid_relatched s v b w)) in X.
    destruct (get_relatched s v b w V) as (-> & _). rewrite view_relatched by auto. auto.
  - exact inv_cur0.
  - change (owner (relatched s v b)) with (owner s). destruct (owner s) as [o |]; auto.
    destruct inv_hw0 as (X & E). split; [apply valid_relatched; auto |].
    destruct (get_relatched s v b o V) as (G & _ & P & _).
    rewrite view_relatched by auto. change (hw (relatched s v b)) with (hw s). rewrite E.
    apply load_ext; auto.
Qed.

Lemma inv_evict s : inv s -> cur s = None -> inv (evict H s).
Proof.
  intros I C. pose proof I as []. destruct (evict_parts s) as (O & C'). constructor.
  - intros v V. apply (proj1 (valid_evict s v)) in V. destruct (get_evict s v V) as (G & D & P & A).
    apply vm_ok_ext with (get s v); auto.
  - intros v V. apply (proj1 (valid_evict s v)) in V. rewrite view_evict by auto.
    destruct (get_evict s v V) as (-> & _). auto.
  - intros v. rewrite C', C. discriminate.
  - rewrite O. unfold evict. destruct (owner s); auto.
Qed.

(** VM entry in two steps: evict another VM, then load. [switched] is the state between. *)
Definition switched (s : machine) (v : nat) : machine := if is (owner s) v then s else evict H s.
Lemma switched_facts s v w : inv s -> cur s = None -> valid s w ->
  inv (switched s v) /\ cur (switched s v) = None /\ valid (switched s v) w
  /\ view (switched s v) w = view s w /\ pending (switched s v) w = pending s w
  /\ geo (get (switched s v) w) = geo (get s w) /\ direct (get (switched s v) w) = direct (get s w)
  /\ pol (get (switched s v) w) = pol (get s w).
Proof.
  intros I C V. unfold switched. destruct (is (owner s) v); [auto 10 |].
  destruct (evict_parts s) as (O & C'), (get_evict s w V) as (G & D & P & _).
  split; [apply inv_evict; auto |]. split; [congruence |]. split; [apply valid_evict; auto |].
  split; [apply view_evict; auto |]. split; [apply pending_evict; auto |]. auto.
Qed.
Definition entered (t : machine) (v : nat) : machine :=
  {| cur := Some v; owner := Some v; vms := vms t; hw := load H (get t v) (view t v) true; apic := apic t |}.
Lemma view_entered t v w : inv t -> cur t = None -> valid t v -> (owner t = None \/ owner t = Some v) ->
  view (entered t v) w = view t w.
Proof.
  intros I C V O. unfold view at 1, entered; cbn [owner cur hw]. change (get _ w) with (get t w).
  rewrite is_some. destruct (Nat.eqb_spec v w) as [<- | D].
  - destruct (unload (get t v) (view t v) true (inv_regs _ I v V)) as (-> & -> & -> & R).
    destruct (passthrough (pol (get t v))) eqn:P; [destruct R as (-> & ->); auto; apply (regs_eta (view t v)) |].
    unfold view. rewrite P. destruct O as [-> | ->]; rewrite ?is_refl, ?C; cbn; [rewrite regs_eta |]; reflexivity.
  - unfold view. destruct O as [-> | ->]; rewrite ?is_some; cbn [is]; auto.
    destruct (Nat.eqb_spec v w); congruence.
Qed.
Lemma switched_owner s v : owner (switched s v) = None \/ owner (switched s v) = Some v.
Proof.
  unfold switched. destruct (is (owner s) v) eqn:O.
  - apply is_spec in O. auto.
  - left. apply evict_parts.
Qed.
Lemma inv_entered t v : inv t -> cur t = None -> valid t v -> (owner t = None \/ owner t = Some v) ->
  inv (entered t v).
Proof.
  intros I C V O. pose proof I as []. constructor.
  - exact inv_vm0.
  - intros w X. rewrite view_entered by auto. apply inv_regs0. exact X.
  - cbn. congruence.
  - cbn [owner entered]. split; [exact V |]. rewrite view_entered by auto.
    cbn [cur entered hw]. rewrite is_refl. reflexivity.
Qed.

(** VM exit. *)
Definition exited (s : machine) (v : nat) : machine :=
  {| cur := None; owner := owner s; vms := put_nth (vms s) v (with_saved (get s v) (view s v));
     hw := gate false (hw s); apic := apic s |}.
Lemma get_exited s v w : valid s v -> geo (get (exited s v) w) = geo (get s w)
  /\ direct (get (exited s v) w) = direct (get s w) /\ pol (get (exited s v) w) = pol (get s w)
  /\ latched (get (exited s v) w) = latched (get s w) /\ approved (get (exited s v) w) = approved (get s w).
Proof.
  intros V. unfold get, exited; cbn [vms].
  destruct (Nat.eq_dec v w) as [<- | D]; [rewrite put_nth_same | rewrite put_nth_other]; auto.
Qed.
Lemma view_exited s v w : inv s -> valid s v -> cur s = Some v -> view (exited s v) w = view s w.
Proof.
  intros I V C. pose proof (inv_cur _ I v C) as O. unfold view at 1.
  destruct (get_exited s v w V) as (G & _ & P & _). rewrite G, P.
  unfold exited; cbn [owner cur hw is]. rewrite O, is_some.
  unfold exited, get; cbn [vms]. destruct (Nat.eqb_spec v w) as [<- | D].
  - rewrite put_nth_same by auto. fold (get s v). cbn [saved with_saved].
    unfold view. rewrite O, C, is_refl. destruct (passthrough _); reflexivity.
  - rewrite put_nth_other by auto. fold (get s w). unfold view. rewrite O, is_some.
    destruct (Nat.eqb_spec v w); congruence.
Qed.
Lemma valid_exited s v w : valid (exited s v) w <-> valid s w.
Proof. unfold valid, exited; cbn [vms]. rewrite put_nth_length. reflexivity. Qed.
Lemma inv_exited s v : inv s -> cur s = Some v -> inv (exited s v).
Proof.
  intros I C. pose proof I as []. pose proof (inv_cur0 v C) as O.
  rewrite O in inv_hw0. destruct inv_hw0 as (V & E). constructor.
  - intros w X. apply (proj1 (valid_exited s v w)) in X. destruct (get_exited s v w V) as (G & D & P & _ & A).
    apply vm_ok_ext with (get s w); auto.
  - intros w X. apply (proj1 (valid_exited s v w)) in X. rewrite view_exited by auto.
    destruct (get_exited s v w V) as (-> & _). auto.
  - cbn. discriminate.
  - change (owner (exited s v)) with (owner s). rewrite O. split; [apply valid_exited; auto |].
    rewrite view_exited by auto. cbn [exited hw cur is]. rewrite E, C, is_refl.
    destruct (get_exited s v v V) as (G & _ & P & _). unfold load. rewrite G, P. reflexivity.
Qed.

(** A step of the running guest that changes only hardware registers: its new view is [r]. *)
Definition with_hw (s : machine) (h : regs) (a : bool) : machine :=
  {| cur := cur s; owner := owner s; vms := vms s; hw := h; apic := a |}.
Lemma view_with_hw_other s v w h a : inv s -> cur s = Some v -> v <> w -> view (with_hw s h a) w = view s w.
Proof.
  intros I C D. unfold view, with_hw; cbn [owner cur hw]. rewrite (inv_cur _ I v C), is_some.
  destruct (Nat.eqb_spec v w); [congruence | reflexivity].
Qed.
(** What the guest cannot change by itself is as it was. *)
Definition keeps (s : machine) (v : nat) (r : regs) : Prop :=
  passthrough (pol (get s v)) = false -> sel r = sel (view s v) /\ fctrl r = fctrl (view s v).
Lemma view_with_hw_same s v r a : inv s -> cur s = Some v -> wf (geo (get s v)) r -> keeps s v r ->
  view (with_hw s (load H (get s v) r true) a) v = r.
Proof.
  intros I C W K. unfold view at 1, with_hw; cbn [owner cur hw]. rewrite C, (inv_cur _ I v C), is_refl.
  change (get _ v) with (get s v). destruct (unload (get s v) r true W) as (-> & -> & -> & R).
  change (gctrl (load H (get s v) r true)) with (gctrl r). unfold keeps, view in K.
  rewrite (inv_cur _ I v C), is_refl in K. destruct (passthrough (pol (get s v))).
  - destruct R as (-> & ->); auto. apply regs_eta.
  - destruct K as (S & F); auto. cbn in S, F. rewrite <- S, <- F. apply regs_eta.
Qed.
Lemma inv_with_hw s v r a : inv s -> cur s = Some v -> wf (geo (get s v)) r -> keeps s v r ->
  inv (with_hw s (load H (get s v) r true) a).
Proof.
  intros I C W K. pose proof I as []. pose proof (inv_cur0 v C) as O.
  rewrite O in inv_hw0. destruct inv_hw0 as (V & _). constructor.
  - exact inv_vm0.
  - intros w X. destruct (Nat.eq_dec v w) as [<- | D].
    + rewrite view_with_hw_same by auto. exact W.
    + rewrite view_with_hw_other with (v := v) by auto. apply inv_regs0. exact X.
  - exact inv_cur0.
  - cbn [owner with_hw]. rewrite O. split; [exact V |]. rewrite view_with_hw_same by auto.
    cbn [hw cur with_hw]. rewrite C, is_refl. reflexivity.
Qed.

Lemma gate_true r : gate true r = r.
Proof. destruct r. reflexivity. Qed.

(** What the running guest's hardware holds, and what counting and direct accesses make of it. *)
Lemma hw_running s v : inv s -> cur s = Some v -> valid s v /\ hw s = load H (get s v) (view s v) true.
Proof.
  intros I C. pose proof (inv_hw _ I) as E. rewrite (inv_cur _ I v C), C, is_refl in E. exact E.
Qed.
Lemma tick_hw s v gps fxs : inv s -> cur s = Some v ->
  let '(r, pmi) := counted (geo (get s v)) (pol (get s v)) (view s v) gps fxs in
  count H (hw s) gps fxs = (load H (get s v) r true, pmi).
Proof.
  intros I C. destruct (hw_running s v I C) as (V & ->). destruct (inv_vm _ I v V) as (_ & _ & W1 & W2 & _).
  unfold load at 1. rewrite gate_true.
  rewrite (count_spread H (geo (get s v))) by (auto; apply I; auto).
  unfold counted. destruct (count _ _ gps fxs) as (c, p) eqn:E. cbn [fst snd]. f_equal.
  injection E as <- _. reflexivity.
Qed.
Lemma direct_hw s v a : inv s -> cur s = Some v -> direct (get s v) = true ->
  data_access H a || (passthrough (pol (get s v)) && control_access H a) = true ->
  let '(r, x) := do_access (geo (get s v)) (view s v) a in
  do_access H (hw s) a = (load H (get s v) r true, x) /\ keeps s v r.
Proof.
  intros I C D A. destruct (hw_running s v I C) as (V & ->).
  destruct (inv_vm _ I v V) as (_ & _ & _ & _ & E & _ & P). specialize (E D). pose proof (inv_regs _ I v V) as W.
  pose proof (access_wf (geo (get s v)) (view s v) a W) as W'.
  unfold load. rewrite !gate_true. rewrite spread_id by auto. destruct (data_access H a) eqn:DA.
  - rewrite access_effective by auto. pose proof (access_controls H (geo (get s v)) (view s v) a E DA) as K.
    destruct (do_access (geo (get s v)) (view s v) a) as (r, x). cbn [fst snd] in *.
    rewrite gate_true, spread_id by auto. split; [reflexivity | intros _; exact K].
  - apply andb_true_iff in A as (R & A). rewrite effective_raw, (access_control H (geo (get s v))) by auto.
    destruct (do_access (geo (get s v)) (view s v) a) as (r, x). cbn [fst snd] in *.
    rewrite gate_true, spread_id, effective_raw by auto. split; [reflexivity | unfold keeps; congruence].
Qed.
End Invariant.
