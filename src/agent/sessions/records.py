"""The types of records in a session's log, and the members of each.

A record shares the number of the event it stands behind; deltas take a number and
are not stored. So the numbers in a file rise but need not be dense.

`message`          the person's: message_id, role `user`, text, channel, media, actor {user, role, scopes,
                   channel, identity, language}, idempotency_key, content_hash, wants_reply, replaces,
                   reply_to, options, trace_id, received_at. Opens a turn if wants_reply.
`turn.started`     message_id, attempt, mode, model, reserved (numbers up to here are handed out without
                   being stored one by one)
`tool.started`     message_id, call_id, name, arguments, agent; the first of a round also has `round`:
                   {text, calls: [{call_id, name, arguments}], usage, model, attempt}, the model's step as a whole
`approval.requested` `approval.resolved`  message_id, call_id, approval_id, ...
`tool.finished`    message_id, call_id, name, content, structured_content, is_error, duration_ms, code, effect,
                   media: [{media_id, mime, name, size}] of the files in it, whose bytes the media folder holds
`seq.reserved`     reserved: the block got longer in mid stream
`seq.mark`         the last number handed out before a clean stop, so that nothing is skipped
`turn.paused`      message_id, attempt: cut by a clean stop; this attempt is not used up; spent {model: usage} and
                   tool_calls: what the turn has used so far, sub-agents included
`chat.done`        message_id, role `assistant`, text, last_text (the text of the last round alone),
                   finish_reason, usage, partial, tool_calls. Ends the turn.
`chat.error`       message_id, code, message, retryable, partial. Ends the turn.
`session.summary`  text, upto: what came up to the number `upto`, told in short; the model is given this instead
`session.updated`  title, owner, deleted, language, mode, ... each optional: the latest wins
"""

MESSAGE = "message"
TURN_STARTED = "turn.started"
TURN_PAUSED = "turn.paused"
TOOL_STARTED = "tool.started"
TOOL_FINISHED = "tool.finished"
APPROVAL_REQUESTED = "approval.requested"
APPROVAL_RESOLVED = "approval.resolved"
SEQ_RESERVED = "seq.reserved"
SEQ_MARK = "seq.mark"
DONE = "chat.done"
ERROR = "chat.error"
UPDATED = "session.updated"
SUMMARY = "session.summary"

ENDS_TURN = frozenset({DONE, ERROR})
FORMAT_VERSION = 1
