// A WebSocket client without a package: browsers and Node 22 have WebSocket, Node 20 with --experimental-websocket.
// A browser's WebSocket can't set headers, so the token goes into the first request and never into the URL.
const url = (process.env.GATEWAY_URL ?? 'http://127.0.0.1:8080').replace(/^http/, 'ws') + '/ws';
const text = process.argv.slice(2).join(' ') || 'hello';
if (typeof WebSocket === 'undefined') {
  console.error('Node 20 needs: node --experimental-websocket websocket_client.mjs');
  process.exit(2);
}

const socket = new WebSocket(url);
const waiting = new Map();
let number = 0;

function call(method, params) {
  const id = ++number;
  socket.send(JSON.stringify({ jsonrpc: '2.0', id, method, params }));
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

const ended = new Promise((resolve, reject) => {
  socket.onmessage = ({ data }) => {
    const told = JSON.parse(data);
    if (told.id !== undefined) {
      const { resolve: yes, reject: no } = waiting.get(told.id);
      waiting.delete(told.id);
      if (told.error) no(new Error(`${told.error.code}: ${told.error.message}`));
      else yes(told.result);
      return;
    }
    const event = told.params;
    if (event.type === 'chat.delta') process.stdout.write(event.delta);
    if (event.type === 'chat.done') resolve(event);
    if (event.type === 'chat.error') reject(new Error(`${event.code}: ${event.message}`));
  };
  socket.onclose = ({ code, reason }) => reject(new Error(`closed: ${code} ${reason}`));
});
ended.catch(() => {}); // told below

try {
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`nobody answers at ${url}`));
  });
  await call('connect', { token: process.env.GATEWAY_TOKEN });
  await call('chat.send_stream', { text, idempotency_key: crypto.randomUUID() });
  await ended;
  process.stdout.write('\n');
  socket.close();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
  socket.close();
}
