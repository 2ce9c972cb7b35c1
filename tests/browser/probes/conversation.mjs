// A small program that a test runs over the page's own modules; what it prints is compared there.

import { Conversation } from '../../../webui/src/model/conversation.js';
import { reveal, tamed, textOf } from '../../../webui/src/model/values.js';
const c = new Conversation('s', { changed() {}, reshaped() {} });
const e = (seq, type, more = {}) => c.apply({ type, session_key: 's', message_id: 'm', seq, ...more });
const seen = [e(1, 'chat.message', { role: 'user', text: 'hi', channel: 'websocket' }), e(2, 'chat.started', { attempt: 1 }), e(3, 'chat.delta', { delta: 'Hel' }),
  e(3, 'chat.delta', { delta: 'Hel' }), e(2, 'chat.started', { attempt: 1 })];
const half = textOf(c.turns[0]);
e(90, 'chat.started', { attempt: 2 }); e(93, 'chat.delta', { delta: 'Hello', from_seq: 91 }); e(92, 'chat.delta', { delta: 'ell' });
e(94, 'tool.started', { call_id: 't', name: 'clock', arguments: {} }); e(95, 'tool.progress', { call_id: 't', progress: 1, total: 2 });
e(96, 'tool.finished', { call_id: 't', is_error: false, duration_ms: 3, preview: 'noon' }); e(97, 'chat.delta', { delta: '\n\nit is noon' });
const kinds = c.turns[0].parts.map((part) => part.kind);
e(98, 'chat.done', { text: 'Hello\n\nit is noon', finish_reason: 'stop', usage: {} });
const kept = c.turns[0].parts.map((part) => part.kind);
e(99, 'chat.started', { attempt: 3 }); e(100, 'chat.done', { text: 'other', finish_reason: 'stop', usage: {} });
console.log(JSON.stringify({ seen, half, kinds, kept, last: textOf(c.turns[0]), tools: c.turns[0].parts.filter((part) => part.kind === 'tool').length,
  shown: reveal('a\u202eb\u{e0041}'), tamed: tamed('\u202ex\u05d0') }));
