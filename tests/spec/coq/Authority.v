(** * Capabilities stay in their islands: the closure theorem behind the isolation facts.

    The system is as the initialiser leaves it: no untyped memory, so that no object is made. Capabilities are only
    copied, with the same or fewer rights, from one subject (a thread with its CSpace) to another that it is
    linked to. Assumed of seL4: it lets no capability pass without such a link. *)
From Coq Require Import Arith List Bool.
Import ListNotations.

Record cap := {
  object : nat;
  power : bool;   (** to another subject's thread, CSpace or address space: reaches into it *)
  grant : bool;   (** an endpoint over which capabilities can be sent *)
  node : bool     (** a CNode, into which a capability can be received *)
}.
Definition weaker (c d : cap) : Prop :=
  object c = object d /\ (power c = true -> power d = true) /\ (grant c = true -> grant d = true)
  /\ (node c = true -> node d = true).
Lemma weaker_refl c : weaker c c.
Proof. unfold weaker. auto. Qed.
Lemma weaker_trans c d e : weaker c d -> weaker d e -> weaker c e.
Proof. unfold weaker. intuition congruence. Qed.

(** Who holds what. A subject that can be reached into by [power] holds a capability to itself. *)
Definition state := nat -> cap -> Prop.
Definition has_node (s : state) (a : nat) : Prop := exists e, s a e /\ node e = true.
Definition linked (s : state) (a b : nat) : Prop :=
  exists c d, s a c /\ s b d /\ object c = object d
    /\ (power c = true \/ power d = true
        \/ ((grant c = true \/ grant d = true) /\ (has_node s a \/ has_node s b))).
Inductive step (s : state) : state -> Prop :=
  | copy a b c c' : linked s a b -> s a c -> weaker c' c ->
                    step s (fun x y => s x y \/ (x = b /\ y = c')).
Inductive reached (s : state) : state -> Prop :=
  | start : reached s s
  | next t u : reached s t -> step t u -> reached s u.

(** A partition of the subjects that stays apart even when everyone holds what anyone of its part holds. Without this
    pooling a part could first gather an endpoint and a CNode in one hand, and then reach another part. *)
Definition pool (s : state) (island : nat -> nat) : state :=
  fun a c => exists x, island x = island a /\ s x c.
Definition islands (s : state) (island : nat -> nat) : Prop :=
  forall a b, linked (pool s island) a b -> island a = island b.

Definition covered (s : state) (island : nat -> nat) (t : state) : Prop :=
  forall a c, t a c -> exists d, pool s island a d /\ weaker c d.
Lemma covered_linked s island t a b : covered s island t -> linked t a b -> linked (pool s island) a b.
Proof.
  intros V (c & d & C & D & O & K).
  destruct (V a c C) as (c0 & C0 & (O1 & P1 & G1 & _)).
  destruct (V b d D) as (d0 & D0 & (O2 & P2 & G2 & _)).
  exists c0, d0. repeat split; auto; [congruence |].
  assert (N : forall x, has_node t x -> has_node (pool s island) x).
  { intros x (e & E & NE). destruct (V x e E) as (e0 & E0 & (_ & _ & _ & N0)). exists e0. auto. }
  destruct K as [K | [K | (K & M)]]; auto. right. right. split; [destruct K; auto | destruct M; auto].
Qed.
(** Whatever a subject comes to hold, a subject of its island held with at least these rights at the start. *)
Theorem closure_sound s island t : islands s island -> reached s t -> covered s island t.
Proof.
  intros I R. induction R as [| t u R IH S].
  - intros a c A. exists c. split; [exists a; auto | apply weaker_refl].
  - destruct S as [a b c c' L A W]. intros x y [X | (-> & ->)]; auto.
    destruct (IH a c A) as (c0 & (z & Z & C0) & W0).
    exists c0. split; [| eapply weaker_trans; eauto].
    exists z. split; auto. apply covered_linked with (s := s) (island := island) in L; auto.
    apply I in L. congruence.
Qed.
(** Subjects of different islands are never linked. *)
Theorem islands_stay_apart s island t a b : islands s island -> reached s t ->
  island a <> island b -> ~ linked t a b.
Proof.
  intros I R D L. apply D, I. eapply covered_linked; eauto using closure_sound.
Qed.
