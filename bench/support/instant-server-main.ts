/**
 * A process that speaks just enough of the server's side of the protocol to answer `select 1` at once: every Query
 * and every Execute gets one row. Started by lines/instant.ts with an IPC channel, over which it sends its port.
 */
import { createServer, type Socket } from 'node:net';
import {
  AUTHENTICATION_OK,
  BIND_COMPLETE,
  backendKeyData,
  CLOSE_COMPLETE,
  commandComplete,
  dataRow,
  NO_DATA,
  PARSE_COMPLETE,
  parameterStatus,
  readyForQuery,
  rowDescription,
} from '../../src/wire/backend.ts';
import {
  F_BIND,
  F_CLOSE,
  F_DESCRIBE,
  F_EXECUTE,
  F_PARSE,
  F_QUERY,
  F_SYNC,
  F_TERMINATE,
} from '../../src/wire/codes.ts';

const READY = readyForQuery(0x49);
const ROW = Buffer.concat([dataRow(['1']), commandComplete('SELECT 1')]);
const COLUMNS = rowDescription([{ name: '?column?', typeOid: 23, typeLength: 4 }]);
const ANSWERS = new Map<number, Buffer>([
  [F_QUERY, Buffer.concat([COLUMNS, ROW, READY])],
  [F_PARSE, PARSE_COMPLETE],
  [F_BIND, BIND_COMPLETE],
  [F_EXECUTE, ROW],
  [F_CLOSE, CLOSE_COMPLETE],
  [F_SYNC, READY],
]);
const STATEMENT = Buffer.concat([Buffer.from([0x74, 0, 0, 0, 6, 0, 0]), COLUMNS]);
const PARAMETERS = {
  server_version: '15.0',
  server_encoding: 'UTF8',
  client_encoding: 'UTF8',
  application_name: '',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  integer_datetimes: 'on',
  standard_conforming_strings: 'on',
  is_superuser: 'off',
  session_authorization: 'bench',
  in_hot_standby: 'off',
  default_transaction_read_only: 'off',
};
const GREETING = Buffer.concat([
  AUTHENTICATION_OK,
  ...Object.entries(PARAMETERS).map(([name, value]) => parameterStatus(name, value)),
  backendKeyData(1, Buffer.alloc(4, 1)),
  READY,
]);
const SSL_REQUEST = 80877103;

function serve(socket: Socket): void {
  let started = false;
  let rest: Buffer | null = null;
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('data', (data) => {
    const chunk: Buffer = rest === null ? data : Buffer.concat([rest, data]);
    const out: Buffer[] = [];
    let at = 0;
    while (true) {
      const head = started ? 1 : 0;
      if (chunk.length - at < head + 4) break;
      const end = at + head + chunk.readUInt32BE(at + head);
      if (end > chunk.length) break;
      if (!started) {
        const ssl = chunk.readUInt32BE(at + 4) === SSL_REQUEST;
        out.push(ssl ? Buffer.from('N') : GREETING);
        started = !ssl;
      } else {
        const type = chunk[at] ?? 0;
        if (type === F_TERMINATE) {
          socket.end();
          return;
        }
        const describe = chunk[at + 5] === 0x53 ? STATEMENT : COLUMNS;
        const answer = type === F_DESCRIBE ? describe : ANSWERS.get(type);
        if (answer !== undefined) out.push(answer);
      }
      at = end;
    }
    rest = at < chunk.length ? chunk.subarray(at) : null;
    if (out.length > 0) socket.write(out.length === 1 ? (out[0] ?? NO_DATA) : Buffer.concat(out));
  });
}

const server = createServer(serve);
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.send?.(address.port);
});
process.once('disconnect', () => {
  server.close();
  process.exitCode = 0;
  process.kill(process.pid, 'SIGTERM');
});
