// A small program that a test runs over the page's own modules; what it prints is compared there.

globalThis.localStorage = { getItem: () => null, setItem: () => {} };
globalThis.document = { documentElement: { dataset: {} } };
Object.defineProperty(globalThis, 'navigator', { value: { language: 'en', languages: ['en'] }, configurable: true });
const { badgeOf } = await import('../../../webui/src/view/badge.js');
const server = (name, tools, state = 'ready') => ({ name, tools, state });
const laptop = { bridge_id: 'b1', name: 'laptop', connected: true, latency_ms: 37.6, servers: [server('fs', 8), server('git', 5), server('db', 1)] };
const away = { ...laptop, connected: false, latency_ms: null };
const none = new Map();
console.log(JSON.stringify({
  on: badgeOf([laptop], none, 0), quiet: badgeOf([{ ...laptop, latency_ms: null, servers: [server('fs', 1)] }], none, 0), none: badgeOf([], none, 0),
  away: badgeOf([away], new Map([['b1', 1000]]), 2000), off: badgeOf([away], none, 1e9),
  trouble: badgeOf([{ ...laptop, servers: [server('fs', 8), server('git', 0, 'failed')] }], none, 0), many: badgeOf([laptop, { ...laptop, bridge_id: 'b2' }, away], none, 0),
}));
