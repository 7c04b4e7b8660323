#pragma once

#include <cstdint>

/// The bugs that tests/sim can plant, one at a time: X(name, origin, what it does). `origin`: of those that this
/// project has had, the list of mended faults and the number there: "proofs" (no ghost write, the right disk),
/// "ladder" (a ladder that ends, targets as they are) or "shares" (fair shares, honest flushes). A name must be no
/// word of the program, in which tests/unit/mutants looks for it.
// clang-format off
#define NBDGW_MUTANT_LIST(X) \
  /* Proofs: what came back is sent again, or another write takes its place */ \
  X(reset_without_round, "proofs 1", "a reset does not wait for the other connections to say that all has arrived") \
  X(reset_covers_all_sent, "proofs 1", "a reset ends whatever was sent before it, arrived or not") \
  X(data_flows_and_proves, "proofs 1", "a reset during which data flowed is a proof") \
  X(aborted_task_gets_data, "proofs 1", "data of a task goes on behind its ABORT TASK") \
  X(denied_abort_proves, "proofs 1", "\"task does not exist\" is as good as \"complete\"") \
  X(relogin_proves_all, "proofs 2", "a login ends writes whose data had all been sent") \
  X(sent_data_not_noted, "proofs 2", "no write had all of its data sent when its session was lost") \
  X(one_reset_for_all, "proofs 2", "after a loss the reset of one LUN hands back the writes of all") \
  X(lost_writes_go_at_once, "proofs 2", "a write is sent again as soon as its session is lost") \
  X(groups_alike, "proofs 3", "all portal groups are one") \
  X(other_group_trusted, "proofs 3", "a login to another portal group proves all") \
  X(unacknowledged_reset_elsewhere, "proofs 3", \
    "a reset through another group also proves what the old one had not acknowledged") \
  X(no_errand, "proofs 3", "nobody goes to the portal group that writes are held for") \
  X(old_socket_closed_softly, "proofs 3", "what is in the socket of a lost session may still arrive") \
  X(receives_into_freed_memory, "", "a task that ends in the middle of its Data-In lets its memory go") \
  X(answers_by_index_alone, "", "a late answer is taken for the task that has the same place now") \
  X(early_answer_leaves_fence, "", "a write that is answered early, for want of a proof, makes way for others") \
  X(abandoned_leaves_fence, "", "a write whose client has gone makes way for others") \
  X(fence_one_block_short, "", "the last block of a write is not fenced") \
  /* What has moved */ \
  X(recovered_error_moves_all, "proofs 4", "with RECOVERED ERROR all data is taken for moved") \
  X(untold_shortfall_is_done, "ladder 6", "what is missing without a residual is taken for moved") \
  X(short_write_is_done, "proofs 4", "a write with a residual is done") \
  X(progress_is_error, "", "a command that has moved a part of its data has used up a retry") \
  X(shortfall_sends_all_again, "ladder 6", "of a short transfer all is sent again, not the remainder") \
  X(edge_read_overwrites_payload, "", "what an unaligned write reads around it lands on its payload") \
  X(trim_beyond_its_range, "", "a TRIM unmaps the blocks that it touches in part") \
  X(write_same_beyond_16_bits, "proofs 8", "65,536 blocks in a WRITE SAME where no limit is reported") \
  /* The right disk */ \
  X(change_of_disk_unheard, "proofs 5", \
    "a unit attention that tells of another disk is sent again, and that is all") \
  X(answers_of_before_believed, "proofs 5", \
    "answers to what was under way when the disk may have changed are believed") \
  X(waiting_commands_not_recalled, "proofs 5", "what waits in the session goes to a LUN in doubt") \
  X(silence_trusted, "proofs 5", "after a silence nobody asks which disk it is") \
  X(identity_forgotten, "proofs 6", "a LUN that does not say who it is may be any from then on") \
  X(one_disk_two_fences, "proofs 7", "exports of one disk have a fence and a ledger each") \
  /* Caches */ \
  X(short_outage_explains, "proofs 9", "29/00 after a short outage is explained, whatever was learnt of the target") \
  X(flush_joins_the_running, "", "a FLUSH is answered by a SYNCHRONIZE CACHE that left before it came") \
  X(last_end_comes_first, "", "a FLUSH is answered before what was with the target then") \
  X(failed_sync_is_success, "", "a FLUSH succeeds whatever its SYNCHRONIZE CACHE came to") \
  X(flush_hides_loss, "shares 5", "a FLUSH succeeds though writes before it are in doubt") \
  X(failed_sync_is_harmless, "shares 5", "a SYNCHRONIZE CACHE that fails puts nothing in doubt") \
  X(first_flush_pays_for_all, "shares 5", "the first observer that hears of a loss hears for all") \
  X(fua_takes_the_blame, "shares 5", "a FUA write that fails for a loss pays for the next FLUSH") \
  X(debts_die_with_connections, "shares 5", "who goes untold leaves no debt") \
  X(ledger_not_inherited, "shares 5", "a restart forgets what was not flushed") \
  X(fua_without_flush, "", "FUA without a FUA bit: the SYNCHRONIZE CACHE is forgotten") \
  X(fua_bit_lost, "", "FUA with a FUA bit: it is not set") \
  X(write_same_not_noted, "", "what WRITE SAME writes is not noted as unflushed") \
  /* The ladder */ \
  X(rungs_forgotten, "ladder 1", "nothing is kept of the rungs that have not helped") \
  X(rung_not_looked_at, "ladder 1", "a rung that is answered \"complete\" has helped") \
  X(hole_not_noticed, "ladder 2", "a Reject that leaves a hole in CmdSN is no matter") \
  X(no_pause_between_logins, "ladder 3", "the next login always comes at once") \
  X(any_login_is_success, "ladder 3", "the pause between logins is forgotten with each that succeeds") \
  X(losses_not_counted, "ladder 3", "a command at which sessions are lost is sent again for ever") \
  X(own_losses_count, "ladder 3", "a session that we end ourselves uses up a retry of what was under way") \
  X(brings_others_down, "ladder 3", "a command that was under way at two losses is sent again with all others") \
  X(redirects_without_end, "ladder 3", "redirects in a circle are followed for ever") \
  X(asked_pause_ignored, "ladder", "a pause that the target asks for before the next login is not kept") \
  X(failover_is_an_error, "ladder 4", "NOT READY for a while fails requests") \
  X(unmapped_is_an_error, "ladder 4", "25/00 fails requests") \
  X(passive_portal_kept, "ladder 4", "a portal that works, but not for the LUN, is never left") \
  X(slow_commands_hurried, "ladder 5", "SYNCHRONIZE CACHE, UNMAP and WRITE SAME have no more time than others") \
  X(pong_waits_its_time_out, "ladder 5", "the ladder begins when the ping's time is over, not when it is answered") \
  X(fua_refusal_is_final, "ladder 6", "a FUA bit that is refused fails each FUA write") \
  X(short_forms_not_tried, "ladder 6", "the 10-byte forms are not tried") \
  X(silent_portal_alone, "ladder 7", "a portal that does not answer to TCP gets no company from the next") \
  X(reset_by_others_unheard, "ladder 9", "commands that others have ended wait for their deadline") \
  X(reset_for_reset, "ladder 9", "a reset by others is answered with one at once") \
  X(function_without_deadline, "", "a function that is not answered has no deadline of its own") \
  /* The wire of iSCSI */ \
  X(window_one_too_wide, "", "one command more than the window allows") \
  X(data_sn_from_one, "", "DataSN of what was asked for begins at 1") \
  X(final_flag_at_the_end_only, "", "F is set at the end of the command, not of each sequence") \
  X(immediate_data_unasked, "", "immediate data though it was negotiated away") \
  /* Wake-ups */ \
  X(stall_seen_before_send, "shares 1", "a client that stalls while it sends is not asked again") \
  X(reply_rings_no_bell, "", "a reply does not wake its connection") \
  X(launch_rings_no_bell, "", "a request that goes on does not wake its export") \
  X(sent_replies_free_nobody, "shares 1", "a connection that waits for its own replies to leave is not asked again") \
  X(delayed_commands_overslept, "", "a command that waits for its next try has no deadline") \
  X(low_water_goes_along, "", "a socket that waited for a payload waits for as much in the next process, too") \
  X(low_water_stays, "", "a socket that waited for a payload goes on waiting for as much") \
  /* Shares */ \
  X(memory_for_announced_payload, "shares 2", "a WRITE takes memory for payload that has not begun to come") \
  X(stalled_take_turns, "shares", "each of many clients that stall costs those who wait the whole stall timeout") \
  X(stalled_never_closed, "shares 2", "who owes the next move may take for ever") \
  X(dead_hosts_kept, "shares 2", "hosts that have died are waited for") \
  X(newcomers_pass, "shares 3", "who comes later passes who waits") \
  X(no_reserve, "shares 4", "nothing is set aside for connections") \
  X(no_floor, "shares 4", "nothing is set aside for exports") \
  X(luns_take_no_turns, "ladder", "the LUN that is served goes on being served") \
  X(reserved_request_leaks, "", "a connection's reserved request is never free again") \
  X(abandoned_memory_leaks, "", "the memory of requests whose client has gone is never free again") \
  X(in_flight_without_limit, "", "a client may have any number of requests in flight") \
  /* The wire of NBD */ \
  X(done_flag_before_the_end, "", "a chunk says that it is the last one while more is to come") \
  X(refused_payload_stays, "", "the payload of a WRITE that is refused is taken for the next request") \
  X(handover_forgets_unread, "shares 5", "a restart loses what was received of the next requests") \
  X(parks_with_replies_unsent, "", "a restart loses replies that were not sent") \
  X(half_a_write_goes_along, "", "who has left in the middle of a WRITE goes along to the next process") \
  X(idle_standby_unseen, "", "an export that nobody uses is taken to work where others do not") \
  X(lost_clients_still_write, "", "what a client that was lost had sent is begun yet, and lands on what it has written since")
// clang-format on

namespace nbdgw::proto {

enum class Mutant : std::uint8_t {
  none,
#define NBDGW_MUTANT_NAME(name, origin, text) name,
  NBDGW_MUTANT_LIST(NBDGW_MUTANT_NAME)
#undef NBDGW_MUTANT_NAME
};

/// The one that is planted. Set before anything runs.
inline Mutant planted_mutant = Mutant::none;

}  // namespace nbdgw::proto
