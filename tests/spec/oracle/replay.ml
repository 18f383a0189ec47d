(* Replays a trace on the extracted specification and compares every answer and every register.

   replay < TRACE      exit code 0: accepted; 1: rejected, with the line and what the specification says;
                       2: not a trace.

   The format, a line each, fields separated by spaces, words in hexadecimal with 0x, counts in decimal:

     vpmu-trace 1
     hardware GEOMETRY
     vm GEOMETRY DIRECT PASSTHROUGH MOST CYCLES FILTER
                                        one for each VM; VMs are numbered from 0
     start
     OPERATION = ANSWER | CONTEXT | CONTEXT ...       one context for each VM
     OPERATION = ANSWER                 without contexts where the registers are not known
     push                               remember the state
     pop                                return to the state of the matching push

   GEOMETRY   VERSION GP GP_WIDTH FIXED FIXED_WIDTH TSX P6 CAPABILITIES      FIXED: the bitmap of fixed counters
   DIRECT, PASSTHROUGH, TSX, P6, DENY, MASKED, PE, PCE   0 or 1
   MOST, CYCLES   words: the limit on PMIs; MOST 0 for none
   FILTER     DENY MASKED FIXED_BITMAP ENTRIES                  ENTRIES: words with commas, or -
   CONTEXT    SELECTORS FIXED_CTR_CTRL GLOBAL_CTRL GLOBAL_STATUS COUNTERS FIXED_COUNTERS
              what the VM's registers are in the hardware when it runs; lists as ENTRIES
   REGISTERS  the same fields, as the guest sees them

     OPERATION                          ANSWER
     open VM                            done
     rd VM MSR                          value WORD, or gp; value ? where the value is not known
     wr VM MSR WORD                     done, or gp
     rdpmc VM ECX CPL PE PCE            value WORD, or gp
     filter VM FILTER                   done, or refused
     save VM                            registers REGISTERS, or refused
     restore VM REGISTERS               done, or refused
     count VM COUNTS FIXED_COUNTS       pmi, quiet, or ?: the hardware counts while the guest runs
     direct VM MSR [WORD]               value WORD, done, or gp: the guest's access without an exit
     complete VM USER BRANCH            pmi or quiet, or ? where that is not known: an instruction is completed
     overflow VM NOW                    deliver; delay CYCLES; or spurious: what to do with a PMI at TSC time NOW
     record VM MSR DROPPED              pair WORD HARDWARE: the pair that is recorded for the register's value, in the
                                        place of entry DROPPED of the table, the newest being 0; or nothing
     guest VM MSR [WORD]                a trapped access that is completed for the guest in ring 0: gp; or done, or
                                        value WORD, then pmi or quiet
     approved VM MSR [WORD]             the same, done by the kernel alone; exits where it may not *)
open Spec

exception Malformed of string

let fail message = raise (Malformed message)
let words_of line = List.filter (fun w -> w <> "") (String.split_on_char ' ' line)

let word text =
  match Z.of_string text with
  | z when Z.sign z >= 0 -> z
  | _ | (exception Invalid_argument _) -> fail ("not a word: " ^ text)

let count text =
  match int_of_string_opt text with Some n when n >= 0 && n < 1000 -> n | _ -> fail ("not a count: " ^ text)

let flag = function "0" -> false | "1" -> true | text -> fail ("not a flag: " ^ text)
let list = function "-" -> [] | text -> List.map word (String.split_on_char ',' text)
let show z = Printf.sprintf "0x%s" (Z.format "%x" z)
let show_list = function [] -> "-" | l -> String.concat "," (List.map show l)

let show_regs r =
  String.concat " "
    [ show_list r.sel; show r.fctrl; show r.gctrl; show r.status; show_list r.pmc; show_list r.fxc ]

let geometry = function
  | [ version; gp; gpw; fx; fxw; tsx; p6; caps ] ->
      let g =
        { version = word version; gp_count = count gp; gp_width = word gpw; fx_map = word fx;
          fx_width = word fxw; in_tx = flag tsx; p6 = flag p6; caps = word caps } in
      if geometry_ok g then g else fail "no such geometry"
  | _ -> fail "a geometry has 8 fields"

let filter_of passthrough = function
  | [ deny; masked; fixed; entries ] ->
      { passthrough; deny = flag deny; masked = flag masked; entries = list entries; fixed_bitmap = word fixed }
  | _ -> fail "a filter has 4 fields"

let regs_of = function
  | [ sel; fctrl; gctrl; status; pmc; fxc ] ->
      { sel = list sel; fctrl = word fctrl; gctrl = word gctrl; status = word status; pmc = list pmc;
        fxc = list fxc }
  | _ -> fail "registers have 6 fields"

(* Runs operations that cannot be refused; the last answer. *)
let perform hardware state ops =
  match run hardware !state ops with
  | Some (next, outs) -> state := next; List.nth outs (List.length outs - 1)
  | None -> fail "the machine has no such operation in this state"

let answer_text = function
  | Silent | Answer Done -> "done"
  | Answer (Value x) -> "value " ^ show x
  | Answer GP -> "gp"
  | Refused -> "refused"
  | Snapshot (r, _) -> "registers " ^ show_regs r

(* What the completion of an instruction for VM v raises; the PMI is handed over at once. *)
let raised hardware state v =
  if pending !state v then begin ignore (perform hardware state [ Deliver v ]); " pmi" end else " quiet"

let access m = function [] -> Rd (word m) | [ x ] -> Wr (word m, word x) | _ -> fail "an access has at most one value"

(* A trapped access and its completion. *)
let guest hardware state v a =
  match perform hardware state [ Trap (v, a) ] with
  | Answer GP -> "gp"
  | answer -> ignore (perform hardware state [ Complete (v, false, false) ]); answer_text answer ^ raised hardware state v

(* The guest runs, so that its registers are loaded, and exits by the access. *)
let approved hardware state v a =
  match run hardware !state [ Enter v; Exit v; Approved (v, a, false) ] with
  | Some (next, outs) -> state := next; answer_text (List.nth outs 2) ^ raised hardware state v
  | None -> "exits"

let record hardware state v m n =
  match run hardware !state [ Record (v, m, n) ] with
  | Some (next, _) ->
      state := next;
      (match newest next v with
       | Some ((_, x), h) -> Printf.sprintf "pair %s %s" (show x) (show h)
       | None -> fail "an empty table after a record")
  | None -> "nothing"

(* The guest runs, makes the access without an exit, and exits. *)
let direct hardware state v a =
  match run hardware !state [ Enter v; Direct (v, a); Exit v ] with
  | Some (next, outs) -> state := next; answer_text (List.nth outs 1)
  | None -> fail "this access is not direct"

(* What the policy domain says about a PMI of VM v; [limits] has each VM's limit and limiter. *)
let overflow config limits v now =
  let limit, limiter = limits.(v) in
  if Z.sign config.c_geo.version = 0 then "spurious"
  else if Z.sign limit.most = 0 then "deliver"
  else
    let next, decision = judge limit limiter now in
    limits.(v) <- (limit, next);
    match decision with Now -> "deliver" | After n -> "delay " ^ show n

(* Performs the operation on the specification; what it answers. *)
let operate hardware configs limits state fields =
  let go op = answer_text (perform hardware state [ op ]) in
  match fields with
  | [ "open"; v ] -> go (Reset (count v))
  | [ "rd"; v; m ] -> go (Trap (count v, Rd (word m)))
  | [ "wr"; v; m; x ] -> go (Trap (count v, Wr (word m, word x)))
  | [ "rdpmc"; v; ecx; cpl; pe; pce ] -> go (Trap (count v, Rdpmc (word ecx, word cpl, flag pe, flag pce)))
  | "filter" :: v :: f -> go (SetPolicy (count v, filter_of false f))
  | [ "save"; v ] -> go (Save (count v))
  | "restore" :: v :: r -> go (Restore (count v, regs_of r, pending !state (count v)))
  | [ "count"; v; gps; fxs ] ->
      let ops = count_ops !state (count v) (list gps) (list fxs) in
      ignore (perform hardware state ops);
      if List.length ops > 4 then "pmi" else "quiet"
  | [ "complete"; v; user; branch ] ->
      let v = count v in
      ignore (perform hardware state [ Complete (v, flag user, flag branch) ]);
      String.trim (raised hardware state v)
  | "direct" :: v :: m :: x -> direct hardware state (count v) (access m x)
  | [ "overflow"; v; now ] ->
      let v = count v in
      if v < List.length configs then overflow (List.nth configs v) limits v (word now) else fail "no such VM"
  | [ "record"; v; m; n ] -> record hardware state (count v) (word m) (count n)
  | "guest" :: v :: m :: x -> guest hardware state (count v) (access m x)
  | "approved" :: v :: m :: x -> approved hardware state (count v) (access m x)
  | _ -> fail "no such operation"

let split_at separator line =
  List.map String.trim (String.split_on_char separator line)

let () =
  let number = ref 0 in
  let next () = incr number; input_line stdin in
  try
    if next () <> "vpmu-trace 1" then fail "the first line must be: vpmu-trace 1";
    let hardware =
      match words_of (next ()) with "hardware" :: g -> geometry g | _ -> fail "the second line is the hardware" in
    let rec vms found limits =
      match words_of (next ()) with
      | [ "start" ] -> (List.rev found, Array.of_list (List.rev limits))
      | [ "vm"; a; b; c; d; e; f; g; h; direct; passthrough; most; cycles; deny; masked; fixed; entries ] ->
          let vm =
            { c_geo = geometry [ a; b; c; d; e; f; g; h ]; c_direct = flag direct;
              c_pol = filter_of (flag passthrough) [ deny; masked; fixed; entries ] } in
          if not (possible hardware vm) then fail "the hardware can have no such VM";
          vms (vm :: found) (({ most = word most; cycles = word cycles }, fresh) :: limits)
      | _ -> fail "expected: vm GEOMETRY DIRECT PASSTHROUGH MOST CYCLES FILTER, or start" in
    let configs, limits = vms [] [] in
    let state = ref (init hardware configs) in
    let stack = ref [] in
    let compare_line line =
      match split_at '=' line with
      | [ operation; rest ] ->
          (match split_at '|' rest with
           | answer :: contexts ->
               let answered = operate hardware configs limits state (words_of operation) in
               let specified = List.mapi (fun v _ -> show_regs (context hardware !state v)) configs in
               let unknown = answer = "value ?" && String.length answered > 6 && String.sub answered 0 6 = "value "
                             || answer = "?" && (answered = "pmi" || answered = "quiet") in
               if (answered <> answer && not unknown) || (contexts <> [] && contexts <> specified) then begin
                 Printf.printf "rejected: line %d: %s\nthe specification says: %s | %s\n" !number line answered
                   (String.concat " | " specified);
                 exit 1
               end
           | [] -> fail "no answer")
      | _ -> fail "expected: OPERATION = ANSWER | CONTEXT ..." in
    (try
       while true do
         match next () with
         | "push" -> stack := (!state, Array.copy limits) :: !stack
         | "pop" ->
             (match !stack with
              | (top, kept) :: rest -> state := top; Array.blit kept 0 limits 0 (Array.length limits); stack := rest
              | [] -> fail "pop without push")
         | line -> compare_line line
       done
     with End_of_file -> ());
    Printf.printf "accepted: %d lines\n" !number
  with
  | Malformed message ->
      Printf.printf "not a trace: line %d: %s\n" !number message;
      exit 2
  | End_of_file ->
      Printf.printf "not a trace: it ends after line %d\n" !number;
      exit 2
