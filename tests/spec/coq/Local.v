(** * One VM by itself: what its guest can observe, as a function of its own operations alone.

    [local_step] is the whole specification of one guest's vPMU, with no hardware, no kernel and no other VM
    in it. [simulation] says that the machine gives each guest exactly that. *)
From Coq Require Import Arith NArith List Bool Lia.
From Vpmu Require Import Arch Policy Machine Bits Registers Invariant Approved.
Import ListNotations.
Open Scope N_scope.

Record local := {
  l_geo : geometry; l_direct : bool; l_pol : filter;
  l_runs : bool;      (** the guest runs *)
  l_view : regs;      (** its registers *)
  l_pending : bool    (** a PMI waits for it *)
}.

(** The VM that an operation is of; [Take] is the kernel's own. *)
Definition domain (o : op) : option nat :=
  match o with
  | Enter v | Exit v | Tick v _ _ | Direct v _ | Trap v _ | Record v _ _ | Approved v _ _
  | Complete v _ _ | Deliver v | Reset v | SetPolicy v _ | Save v
  | Restore v _ _ => Some v
  | Take => None
  end.

Definition to (l : local) (runs : bool) (r : regs) (p : bool) : local :=
  {| l_geo := l_geo l; l_direct := l_direct l; l_pol := l_pol l; l_runs := runs; l_view := r; l_pending := p |}.
Definition local_step (l : local) (o : op) : option (local * out) :=
  let only (b : bool) (x : local * out) := if b then Some x else None in
  let r := l_view l in let p := l_pending l in let runs := l_runs l in
  match o with
  | Enter _ => only (negb runs) (to l true r p, Silent)
  | Exit _ => only runs (to l false r p, Silent)
  | Tick _ gps fxs =>
      let '(r', q) := counted (l_geo l) (l_pol l) r gps fxs in only runs (to l runs r' (p || q), Silent)
  | Direct _ a =>
      let '(r', x) := do_access (l_geo l) r a in only (runs && l_direct l) (to l runs r' p, Answer x)
  | Trap _ a => let '(r', x) := do_access (l_geo l) r a in only (negb runs) (to l runs r' p, Answer x)
  | Record _ _ _ => only (negb runs) (l, Silent)
  | Approved _ a user =>
      let '(r', x) := do_access (l_geo l) r a in
      let '(r'', q) := complete (l_geo l) (l_pol l) r' user false in
      only (negb runs) (to l runs r'' (p || q), Answer x)
  | Complete _ user branch =>
      let '(r', q) := complete (l_geo l) (l_pol l) r user branch in only (negb runs) (to l runs r' (p || q), Silent)
  | Deliver _ => only (negb runs && p) (to l runs r false, Silent)
  | Reset _ => only (negb runs) (to l runs (reset (l_geo l)) p, Silent)
  | SetPolicy _ f =>
      only (negb runs)
        (if mediated (l_geo l) (l_pol l) && negb (passthrough f)
         then ({| l_geo := l_geo l; l_direct := l_direct l; l_pol := f; l_runs := runs; l_view := r; l_pending := p |}, Silent)
         else (l, Refused))
  | Save _ => only (negb runs) (l, if mediated (l_geo l) (l_pol l) then Snapshot (shown (l_geo l) r) p else Refused)
  | Restore _ r' p' => only (negb runs) (if mediated (l_geo l) (l_pol l) && snapshot_ok (l_geo l) r' then (to l runs r' p', Silent) else (l, Refused))
  | Take => Some (l, Silent)
  end.

Definition localize (s : machine) (v : nat) : local :=
  {| l_geo := geo (get s v); l_direct := direct (get s v); l_pol := pol (get s v);
     l_runs := is (cur s) v; l_view := view s v; l_pending := pending s v |}.

Section Local.
Variable H : geometry.

Lemma localize_eq s v l :
  geo (get s v) = l_geo l -> direct (get s v) = l_direct l -> pol (get s v) = l_pol l ->
  is (cur s) v = l_runs l -> view s v = l_view l -> pending s v = l_pending l -> localize s v = l.
Proof. destruct l. unfold localize. simpl. congruence. Qed.

Lemma pending_store_other s v w m r : v <> w -> pending (store H s v m r) w = pending s w.
Proof. intros D. unfold pending. rewrite get_store_other by auto. reflexivity. Qed.
Lemma pending_store_same s v m r : valid s v ->
  pending (store H s v m r) v = latched m || (is (owner s) v && apic s).
Proof. intros V. unfold pending. rewrite get_store_same by auto. reflexivity. Qed.
Lemma pending_take s v : inv H s -> valid s v -> pending (take s) v = pending s v.
Proof.
  intros I V. unfold pending at 1. rewrite latched_take, (apic_take H) by auto.
  rewrite andb_false_r, orb_false_r. reflexivity.
Qed.
(** [take], where it belongs to v *)
Definition taken (s : machine) (v : nat) : machine := if is (owner s) v then take s else s.
Lemma taken_facts s v w : inv H s -> valid s w ->
  inv H (taken s v) /\ cur (taken s v) = cur s /\ owner (taken s v) = owner s /\ valid (taken s v) w
  /\ view (taken s v) w = view s w /\ pending (taken s v) w = pending s w
  /\ geo (get (taken s v) w) = geo (get s w) /\ direct (get (taken s v) w) = direct (get s w)
  /\ pol (get (taken s v) w) = pol (get s w).
Proof.
  intros I V. unfold taken. destruct (is (owner s) v); [| auto 10].
  destruct (take_parts s) as (C & O & _), (get_take s w V) as (G & D & P & _).
  split; [apply inv_take; auto |]. split; auto. split; auto. split; [apply valid_take; auto |].
  split; [apply view_take; auto |]. split; [apply pending_take; auto |]. auto.
Qed.
Lemma taken_apic s v : inv H s -> is (owner (taken s v)) v && apic (taken s v) = false.
Proof.
  intros I. unfold taken. destruct (is (owner s) v) eqn:O.
  - rewrite (apic_take H) by auto. apply andb_false_r.
  - rewrite O. reflexivity.
Qed.

(** What [store] does to what is observed. *)
Lemma store_other s v m r w : v <> w -> localize (store H s v m r) w = localize s w.
Proof.
  intros D. apply localize_eq; cbn [localize l_geo l_direct l_pol l_runs l_view l_pending];
    rewrite ?get_store_other, ?view_store_other, ?pending_store_other by auto; reflexivity.
Qed.
Lemma store_same s v m r : valid s v -> wf (geo m) r ->
  localize (store H s v m r) v
  = {| l_geo := geo m; l_direct := direct m; l_pol := pol m; l_runs := is (cur s) v; l_view := r;
       l_pending := latched m || (is (owner s) v && apic s) |}.
Proof.
  intros V W. apply localize_eq; cbn [localize l_geo l_direct l_pol l_runs l_view l_pending];
    rewrite ?get_store_same, ?view_store_same, ?pending_store_same by auto; reflexivity.
Qed.

Lemma localize_switched s v w : inv H s -> cur s = None -> valid s w -> localize (switched H s v) w = localize s w.
Proof.
  intros I C V. destruct (switched_facts H s v w I C V) as (_ & C' & _ & E & P & G & D & F).
  apply localize_eq; cbn [localize l_geo l_direct l_pol l_runs l_view l_pending]; congruence.
Qed.
Lemma localize_taken s v w : inv H s -> valid s w -> localize (taken s v) w = localize s w.
Proof.
  intros I V. destruct (taken_facts s v w I V) as (_ & C & _ & _ & E & P & G & D & F).
  apply localize_eq; cbn [localize l_geo l_direct l_pol l_runs l_view l_pending]; congruence.
Qed.
Lemma localize_entered t v w : inv H t -> cur t = None -> valid t v -> (owner t = None \/ owner t = Some v) ->
  localize (entered H t v) w = to (localize t w) (Nat.eqb v w) (view t w) (pending t w).
Proof.
  intros I C V O. apply localize_eq; cbn [to localize l_geo l_direct l_pol l_runs l_view l_pending]; auto.
  - apply view_entered; auto.
  - unfold pending, entered; cbn [owner apic]. change (get _ w) with (get t w). rewrite is_some.
    destruct O as [O | O]; rewrite O; auto. cbn [is andb].
    pose proof (inv_hw _ _ I) as A. rewrite O in A. destruct A as (_ & ->). rewrite andb_false_r. reflexivity.
Qed.
Lemma localize_exited s v w : inv H s -> valid s v -> cur s = Some v ->
  localize (exited s v) w = to (localize s w) false (view s w) (pending s w).
Proof.
  intros I V C. destruct (get_exited s v w V) as (G & D & P & L & _).
  apply localize_eq; cbn [to localize l_geo l_direct l_pol l_runs l_view l_pending]; auto.
  - eapply view_exited; eauto.
  - unfold pending. rewrite L. reflexivity.
Qed.
Lemma localize_relatched s v b w : inv H s -> valid s v -> is (owner s) v && apic s = false ->
  localize (relatched s v b) w
  = if Nat.eqb v w then to (localize s w) (is (cur s) w) (view s w) b else localize s w.
Proof.
  intros I V A. destruct (get_relatched s v b w V) as (G & D & P & _).
  destruct (Nat.eqb_spec v w) as [<- | N];
    apply localize_eq; cbn [to localize l_geo l_direct l_pol l_runs l_view l_pending]; auto using view_relatched;
    unfold pending; rewrite latched_relatched by auto.
  - rewrite Nat.eqb_refl. change (owner (relatched s v b)) with (owner s).
    change (apic (relatched s v b)) with (apic s). rewrite A. apply orb_false_r.
  - replace (Nat.eqb v w) with false by (symmetry; apply Nat.eqb_neq; auto). reflexivity.
Qed.
Lemma localize_with_hw s v r q w : inv H s -> cur s = Some v -> wf (geo (get s v)) r -> keeps s v r ->
  localize (with_hw s (load H (get s v) r true) (apic s || q)) w
  = if Nat.eqb v w then to (localize s w) true r (pending s w || q) else localize s w.
Proof.
  intros I C W K. pose proof (inv_cur _ _ I v C) as O.
  destruct (Nat.eqb_spec v w) as [<- | N];
    apply localize_eq; cbn [to localize l_geo l_direct l_pol l_runs l_view l_pending]; auto.
  - cbn. rewrite C. apply is_refl.
  - eapply view_with_hw_same; eauto.
  - unfold pending. change (owner (with_hw _ _ _)) with (owner s). rewrite O, is_refl. cbn.
    rewrite orb_assoc. reflexivity.
  - eapply view_with_hw_other; eauto.
  - unfold pending. change (owner (with_hw _ _ _)) with (owner s). rewrite O, is_some.
    replace (Nat.eqb v w) with false by (symmetry; apply Nat.eqb_neq; auto). reflexivity.
Qed.

(** ** The simulation, for every operation: the invariant is kept; the VM whose operation it is gets what
    [local_step] says; every other VM observes nothing. *)
Definition simulates (s s' : machine) (o : op) (x : out) : Prop :=
  inv H s' /\ length (vms s') = length (vms s)
  /\ forall w, valid s w ->
       if is (domain o) w then local_step (localize s w) o = Some (localize s' w, x)
       else localize s' w = localize s w.

Lemma host_none (s : machine) : match cur s with None => true | Some _ => false end = true -> cur s = None.
Proof. destruct (cur s); congruence. Qed.
Lemma valid_ltb s v : Nat.ltb v (length (vms s)) = true -> valid s v.
Proof. apply Nat.ltb_lt. Qed.
Lemma length_store s v m r : length (vms (store H s v m r)) = length (vms s).
Proof. apply put_nth_length. Qed.
Lemma length_taken s v : length (vms (taken s v)) = length (vms s).
Proof. unfold taken, take. destruct (is (owner s) v), (owner s); simpl; rewrite ?put_nth_length; auto. Qed.

(** An operation that is one [store] for VM v, in the host. *)
Lemma simulates_store s v m r o x :
  inv H s -> cur s = None -> valid s v -> vm_ok H m -> wf (geo m) r -> domain o = Some v ->
  local_step (localize s v) o
  = Some ({| l_geo := geo m; l_direct := direct m; l_pol := pol m; l_runs := false; l_view := r;
             l_pending := latched m || (is (owner s) v && apic s) |}, x) ->
  simulates s (store H s v m r) o x.
Proof.
  intros I C V M W D E. split; [apply inv_store; auto |]. split; [apply length_store |].
  intros w X. rewrite D, is_some. destruct (Nat.eqb_spec v w) as [<- | N].
  - rewrite E, store_same, C by auto. reflexivity.
  - apply store_other. auto.
Qed.
Lemma simulates_same s o x : inv H s -> (forall v, domain o = Some v -> local_step (localize s v) o = Some (localize s v, x)) ->
  simulates s s o x.
Proof.
  intros I E. split; auto. split; auto. intros w X. destruct (is (domain o) w) eqn:D; auto.
  apply is_spec in D. auto.
Qed.

Lemma simulates_trap s v a s' x : inv H s -> step H s (Trap v a) = Some (s', x) -> simulates s s' (Trap v a) x.
Proof.
  intros I E. cbn [step] in E.
  destruct (do_access (geo (get s v)) (view s v) a) as (r, y) eqn:R.
  destruct (match cur s with None => true | Some _ => false end) eqn:C; [| discriminate E].
  destruct (Nat.ltb v _) eqn:V; [| discriminate E].
  destruct (passthrough (pol (get s v)) && control_access H a); [discriminate E |]. injection E as <- <-.
  apply host_none in C. apply valid_ltb in V.
  pose proof (access_wf _ _ a (inv_regs _ _ I v V)) as W. rewrite R in W. cbn [fst] in W.
  pose proof (access_done (geo (get s v)) (view s v) a) as N. rewrite R in N. cbn [fst snd] in N.
  assert (L : local_step (localize s v) (Trap v a) = Some (to (localize s v) false r (pending s v), Answer y)).
  { cbn [local_step l_geo l_view l_pending l_runs localize]. rewrite R, C. reflexivity. }
  destruct y.
  - apply simulates_store; auto. apply I. auto.
  - apply simulates_same; auto. intros u [= <-]. rewrite L, N by discriminate. f_equal. f_equal.
    symmetry. apply localize_eq; auto. cbn. rewrite C. reflexivity.
  - apply simulates_same; auto. intros u [= <-]. rewrite L, N by discriminate. f_equal. f_equal.
    symmetry. apply localize_eq; auto. cbn. rewrite C. reflexivity.
Qed.
Lemma simulates_complete s v user branch s' x : inv H s -> step H s (Complete v user branch) = Some (s', x) ->
  simulates s s' (Complete v user branch) x.
Proof.
  intros I E. cbn [step] in E.
  destruct (complete (geo (get s v)) (pol (get s v)) (view s v) user branch) as (r, q) eqn:R.
  destruct (match cur s with None => true | Some _ => false end) eqn:C; [| discriminate E].
  destruct (Nat.ltb v _) eqn:V; [| discriminate E]. injection E as <- <-.
  apply host_none in C. apply valid_ltb in V.
  apply simulates_store; auto.
  - apply vm_ok_ext with (get s v); auto. apply I. auto.
  - pose proof R as R'. unfold complete in R'. apply (f_equal fst) in R'. cbn [fst] in R'. rewrite <- R'.
    apply (counted_wf (geo (get s v)) (pol (get s v))). apply I. auto.
  - cbn [local_step l_geo l_pol l_view l_pending l_runs localize]. rewrite R, C. cbn.
    unfold pending. do 3 f_equal. destruct (latched (get s v)), (is (owner s) v && apic s), q; reflexivity.
Qed.
Theorem simulation s o s' x : inv H s -> step H s o = Some (s', x) -> simulates s s' o x.
Proof.
  intros I E. destruct o as [v | v | v gps fxs | v a | v a | v n i | v a user | v user branch | | v | v | v f | v | v r p]; cbn [step] in E.
  - (* Enter *)
    fold (switched H s v) in E. change (Build_machine (Some v) (Some v) _ _ _) with (entered H (switched H s v) v) in E.
    destruct (match cur s with None => true | Some _ => false end) eqn:C; [| discriminate E].
    destruct (Nat.ltb v _) eqn:V; [| discriminate E]. injection E as <- <-.
    apply host_none in C. apply valid_ltb in V.
    destruct (switched_facts H s v v I C V) as (I' & C' & V' & _).
    pose proof (switched_owner H s v) as O.
    split; [apply inv_entered; auto |].
    split. { cbn [entered vms]. unfold switched, evict. destruct (is (owner s) v); auto. destruct (owner s); auto.
             cbn [vms]. rewrite put_nth_length. unfold take. destruct (owner s); cbn [vms]; rewrite ?put_nth_length; auto. }
    intros w X. cbn [domain]. rewrite is_some, localize_entered by auto.
    rewrite localize_switched by auto.
    destruct (switched_facts H s v w I C X) as (_ & _ & _ & -> & -> & _).
    destruct (Nat.eqb v w).
    + cbn. rewrite C. reflexivity.
    + symmetry. apply localize_eq; auto. cbn. rewrite C. reflexivity.
  - (* Exit *)
    destruct (is (cur s) v) eqn:C; [| discriminate E]. injection E as <- <-. apply is_spec in C.
    destruct (hw_running H s v I C) as (V & _).
    change (simulates s (exited s v) (Exit v) Silent).
    split; [apply inv_exited; auto |]. split; [apply put_nth_length |].
    intros w X. cbn [domain]. rewrite is_some, localize_exited by auto.
    destruct (Nat.eqb_spec v w) as [<- | N].
    + cbn. rewrite C, is_refl. reflexivity.
    + symmetry. apply localize_eq; auto. cbn. rewrite C, is_some. apply Nat.eqb_neq. auto.
  - (* Tick *)
    destruct (count H (hw s) gps fxs) as (h, q) eqn:K.
    destruct (is (cur s) v) eqn:C; [| discriminate E]. injection E as <- <-. apply is_spec in C.
    pose proof (tick_hw H s v gps fxs I C) as T.
    pose proof (counted_wf (geo (get s v)) (pol (get s v)) (view s v) gps fxs) as W.
    destruct (counted _ _ _ gps fxs) as (r, q') eqn:R. rewrite K in T. injection T as -> ->.
    destruct (hw_running H s v I C) as (V & _).
    assert (S : keeps s v r)
      by (intros _; unfold counted in R; destruct (count _ _ _ _) in R; injection R as <- <-; auto).
    cbn [fst] in W. specialize (W (inv_regs _ _ I v V)).
    change (simulates s (with_hw s (load H (get s v) r true) (apic s || q')) (Tick v gps fxs) Silent).
    split; [apply inv_with_hw; auto |]. split; [reflexivity |].
    intros w X. cbn [domain]. rewrite is_some, localize_with_hw by auto.
    destruct (Nat.eqb_spec v w) as [<- | N]; auto.
    cbn [local_step l_geo l_pol l_view l_pending l_runs localize]. rewrite R, C, is_refl. reflexivity.
  - (* Direct *)
    destruct (do_access H (hw s) a) as (h, y) eqn:K.
    destruct (is (cur s) v) eqn:C; [| discriminate E]. destruct (direct (get s v)) eqn:D; [| discriminate E].
    destruct (data_access H a || _) eqn:A; [| discriminate E]. injection E as <- <-. apply is_spec in C.
    pose proof (direct_hw H s v a I C D A) as T.
    destruct (hw_running H s v I C) as (V & _).
    pose proof (access_wf _ _ a (inv_regs _ _ I v V)) as W.
    destruct (do_access (geo (get s v)) (view s v) a) as (r, y') eqn:R.
    destruct T as (T & S). rewrite K in T. injection T as -> ->. cbn [fst] in W.
    pose proof (orb_false_r (apic s)) as Z.
    change (simulates s (with_hw s (load H (get s v) r true) (apic s)) (Direct v a) (Answer y')).
    rewrite <- Z.
    split; [apply inv_with_hw; auto |]. split; [reflexivity |].
    intros w X. cbn [domain]. rewrite is_some, localize_with_hw by auto.
    destruct (Nat.eqb_spec v w) as [<- | N]; auto.
    cbn [local_step l_geo l_pol l_view l_pending l_runs l_direct localize].
    rewrite R, C, is_refl, D, orb_false_r. reflexivity.
  - (* Trap *) eapply simulates_trap; eauto.
  - (* Record *)
    destruct (recorded _ _ _ _) as [m' |] eqn:R; [| discriminate E].
    destruct (match cur s with None => true | Some _ => false end) eqn:C; [| discriminate E].
    destruct (Nat.ltb v _) eqn:V; [| discriminate E]. injection E as <- <-.
    apply host_none in C. apply valid_ltb in V.
    destruct (recorded_ok H (get s v) (view s v) _ _ _ (inv_vm _ _ I v V) R) as (M & G & D & P & L).
    apply simulates_store; auto.
    + rewrite G. apply I. auto.
    + cbn [local_step localize l_runs]. rewrite C, G, D, P, L. cbn [is negb]. unfold localize, pending. rewrite C. reflexivity.
  - (* Approved *)
    destruct (approved_is_trapped H s v a user s' x I E) as (K & _). cbn [run] in K.
    destruct (step H s (Trap v a)) as [(s1, y) |] eqn:S1; [| discriminate K].
    destruct (step H s1 (Complete v user false)) as [(s2, z) |] eqn:S2; [| discriminate K].
    injection K as <- <- _.
    pose proof (simulates_trap _ _ _ _ _ I S1) as (I1 & L1 & A1).
    pose proof (simulates_complete _ _ _ _ _ _ I1 S2) as (I2 & L2 & A2).
    split; auto. split; [congruence |]. intros w X.
    assert (X1 : valid s1 w) by (unfold valid; rewrite L1; exact X).
    specialize (A1 w X). specialize (A2 w X1). cbn [domain] in *. rewrite is_some in *.
    destruct (Nat.eqb v w); [| congruence].
    revert A1 A2. generalize (localize s w) (localize s1 w) (localize s2 w). intros l l1 l2 A1 A2.
    cbn [local_step] in *. destruct (do_access _ _ _) as (r, ans).
    destruct (negb (l_runs l)) eqn:N; [| discriminate A1]. injection A1 as <- <-.
    cbn [to l_geo l_pol l_view l_pending l_runs] in A2.
    destruct (complete _ _ _ _ _) as (q, b). rewrite N in A2. injection A2 as <- _. reflexivity.
  - (* Complete *) eapply simulates_complete; eauto.
  - (* Take *)
    injection E as <- <-. split; [apply inv_take; auto |].
    split. { unfold take. destruct (owner s); cbn [vms]; rewrite ?put_nth_length; auto. }
    intros w X. cbn. destruct (take_parts s) as (C & _), (get_take s w X) as (G & D & P & _).
    apply localize_eq; cbn [localize l_geo l_direct l_pol l_runs l_view l_pending]; rewrite ?C; auto using view_take, pending_take.
  - (* Deliver *)
    fold (taken s v) in E. change (Build_machine _ _ _ _ _) with (relatched (taken s v) v false) in E.
    destruct (match cur s with None => true | Some _ => false end) eqn:C; [| discriminate E].
    destruct (Nat.ltb v _) eqn:V; [| discriminate E]. destruct (pending s v) eqn:P; [| discriminate E].
    injection E as <- <-. apply host_none in C. apply valid_ltb in V.
    destruct (taken_facts s v v I V) as (I' & C' & O' & V' & _).
    split; [apply inv_relatched; auto |].
    split. { unfold relatched; cbn [vms]. rewrite put_nth_length. apply length_taken. }
    intros w X. cbn [domain]. rewrite is_some, localize_relatched by auto using taken_apic.
    destruct (taken_facts s v w I X) as (_ & _ & _ & _ & -> & _).
    rewrite localize_taken by auto.
    destruct (Nat.eqb_spec v w) as [<- | N]; auto.
    cbn. rewrite C', C, P. reflexivity.
  - (* Reset *)
    destruct (match cur s with None => true | Some _ => false end) eqn:C; [| discriminate E].
    destruct (Nat.ltb v _) eqn:V; [| discriminate E]. injection E as <- <-.
    apply host_none in C. apply valid_ltb in V.
    apply simulates_store; auto using reset_wf.
    { apply vm_ok_withdrawn with (get s v); auto; apply I; auto. }
    cbn. rewrite C. reflexivity.
  - (* SetPolicy *)
    destruct (match cur s with None => true | Some _ => false end) eqn:C; [| discriminate E].
    destruct (Nat.ltb v _) eqn:V; [| discriminate E]. apply host_none in C. apply valid_ltb in V.
    destruct (mediated _ _ && negb (passthrough f)) eqn:M; injection E as <- <-.
    + apply simulates_store; auto; try (apply I; auto).
      { apply vm_ok_withdrawn with (get s v); auto; try apply I; auto. intros P. cbn [pol with_pol] in P.
        rewrite P, andb_false_r in M. discriminate M. }
      cbn. rewrite C, M. reflexivity.
    + apply simulates_same; auto. intros u [= <-]. cbn. rewrite C, M. reflexivity.
  - (* Save *)
    destruct (match cur s with None => true | Some _ => false end) eqn:C; [| discriminate E].
    destruct (Nat.ltb v _) eqn:V; [| discriminate E]. injection E as <- <-.
    apply host_none in C.
    apply simulates_same; auto. intros u [= <-]. cbn. rewrite C. reflexivity.
  - (* Restore *)
    fold (taken s v) in E.
    destruct (match cur s with None => true | Some _ => false end) eqn:C; [| discriminate E].
    destruct (Nat.ltb v _) eqn:V; [| discriminate E].
    apply host_none in C. apply valid_ltb in V.
    destruct (mediated _ _ && snapshot_ok (geo (get s v)) r) eqn:K'; injection E as <- <-.
    + destruct (taken_facts s v v I V) as (I' & C' & O' & V' & _ & _ & G & D & P).
      pose proof K' as K. apply andb_true_iff in K as (_ & K). pose proof (snapshot_ok_wf _ _ K) as KW.
      assert (S : simulates (taken s v) (store H (taken s v) v (withdrawn (with_latched (get (taken s v) v) p)) r) (Restore v r p) Silent).
      { apply simulates_store; auto; try congruence.
        - apply vm_ok_withdrawn with (get (taken s v) v); auto; apply I'; auto.
        - cbn. congruence.
        - cbn [local_step l_geo l_pol l_runs localize]. rewrite C', C, G, P. cbn [is negb].
          rewrite K'.
          rewrite taken_apic by auto. unfold to, localize. cbn [latched with_latched l_geo l_direct l_pol].
          cbn. rewrite orb_false_r, G. reflexivity. }
      destruct S as (S1 & S2 & S3). split; auto. split; [rewrite S2; apply length_taken |].
      intros w X. rewrite <- (localize_taken s v w) by auto. apply S3. apply (taken_facts s v w I X).
    + apply simulates_same; auto. intros u [= <-]. cbn. rewrite C, K'. reflexivity.
Qed.
End Local.
