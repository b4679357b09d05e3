/** Encoders of src/wire/frontend.ts: vectors of S-90 (bytes seen by strace), and the layout of each message. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandComplete, dataRow, readyForQuery, rowDescription } from '../../../src/wire/backend.ts';
import { TX_IDLE } from '../../../src/wire/codes.ts';
import {
  bind,
  cancelRequest,
  close,
  copyData,
  copyDone,
  copyFail,
  describe,
  execute,
  flush,
  functionCall,
  gssencRequest,
  parse,
  passwordMessage,
  query,
  saslInitialResponse,
  saslResponse,
  sslRequest,
  startupMessage,
  sync,
  terminate,
} from '../../../src/wire/frontend.ts';

const hex = (text: string): string => text.replaceAll(' ', '');
const ascii = (text: string): string => Buffer.from(text).toString('hex');

test('S-90: simple queries', () => {
  const first = query('SELECT 1;');
  assert.equal(first.toString('hex'), hex(`51 0000000e ${ascii('SELECT 1;')} 00`));
  assert.equal(first.length, 15);
  const long = query("select 'This is a very long query to view.';");
  assert.equal(long.length, 50);
  assert.equal(long.readUInt32BE(1), 0x31);
});

test('S-90: the reply to SELECT 1', () => {
  const description = rowDescription([{ name: '?column?', typeOid: 0x17, typeLength: 4 }]);
  assert.equal(
    description.toString('hex'),
    hex(`54 00000021 0001 ${ascii('?column?')} 00 00000000 0000 00000017 0004 ffffffff 0000`),
  );
  const reply = [description, dataRow(['1']), commandComplete('SELECT 1'), readyForQuery(TX_IDLE)];
  assert.deepEqual(
    reply.map((m) => m.length),
    [34, 12, 14, 6],
  );
  assert.equal(Buffer.concat(reply).length, 66);
});

test('untyped first packets', () => {
  assert.equal(sslRequest().toString('hex'), hex('00000008 04d2162f'));
  assert.equal(gssencRequest().toString('hex'), hex('00000008 04d21630'));
  assert.equal(
    startupMessage([
      ['user', 'é'],
      ['database', ''],
    ]).toString('hex'),
    hex(`0000001b 00030000 ${ascii('user')} 00 c3a9 00 ${ascii('database')} 00 00 00`),
  );
  assert.equal(startupMessage([], 0x00030002).toString('hex'), hex('00000009 00030002 00'));
});

test('cancel: 4-byte keys, long keys of protocol 3.2, pids that look negative', () => {
  assert.equal(
    cancelRequest(7, Buffer.from('01020304', 'hex')).toString('hex'),
    hex('00000010 04d2162e 00000007 01020304'),
  );
  const long = cancelRequest(0xfffffffe, Buffer.alloc(32, 9));
  assert.equal(long.readUInt32BE(0), 44);
  assert.equal(long.length, 44);
  assert.equal(long.readUInt32BE(8), 0xfffffffe);
});

test('extended protocol', () => {
  assert.equal(
    parse('s', 'q', [23, 0xffffffff]).toString('hex'),
    hex('50 00000012 7300 7100 0002 00000017 ffffffff'),
  );
  assert.equal(parse('', '').toString('hex'), hex('50 00000008 00 00 0000'));
  assert.equal(
    bind({
      portal: 'p',
      statement: 's',
      values: ['é', null, Buffer.from([0, 255])],
      valueFormats: [0, 0, 1],
    }).toString('hex'),
    hex('42 00000024 7000 7300 0003 0000 0000 0001 0003 00000002 c3a9 ffffffff 00000002 00ff 0000'),
  );
  assert.equal(
    bind({ portal: '', statement: '', values: [], resultFormats: [1] }).toString('hex'),
    hex('42 0000000e 00 00 0000 0000 0001 0001'),
  );
  assert.equal(describe('statement', 'a').toString('hex'), hex('44 00000007 53 6100'));
  assert.equal(describe('portal', '').toString('hex'), hex('44 00000006 50 00'));
  assert.equal(close('portal', 'a').toString('hex'), hex('43 00000007 50 6100'));
  assert.equal(close('statement', '').toString('hex'), hex('43 00000006 53 00'));
  assert.equal(execute('').toString('hex'), hex('45 00000009 00 00000000'));
  assert.equal(execute('p', 5).toString('hex'), hex('45 0000000a 7000 00000005'));
  assert.equal(sync().toString('hex'), hex('53 00000004'));
  assert.equal(flush().toString('hex'), hex('48 00000004'));
  assert.equal(terminate().toString('hex'), hex('58 00000004'));
});

test('passwords, COPY, function calls', () => {
  assert.equal(passwordMessage('x').toString('hex'), hex('70 00000006 7800'));
  assert.equal(
    saslInitialResponse('SCRAM-SHA-256', Buffer.from('ab')).toString('hex'),
    hex(`70 00000018 ${ascii('SCRAM-SHA-256')} 00 00000002 6162`),
  );
  assert.equal(saslResponse(Buffer.from('ab')).toString('hex'), hex('70 00000006 6162'));
  assert.equal(copyData(Buffer.from([0, 1])).toString('hex'), hex('64 00000006 0001'));
  assert.equal(copyDone().toString('hex'), hex('63 00000004'));
  assert.equal(copyFail('no').toString('hex'), hex('66 00000007 6e6f00'));
  assert.equal(
    functionCall({ oid: 1, values: ['a', null], valueFormats: [1], resultFormat: 1 }).toString('hex'),
    hex('46 00000019 00000001 0001 0001 0002 00000001 61 ffffffff 0001'),
  );
});

test('a NUL cannot smuggle a second field', () => {
  assert.throws(() => query('select 1\0'), RangeError);
  assert.throws(() => passwordMessage('a\0b'), RangeError);
  assert.throws(() => startupMessage([['user', 'a\0database\0b']]), RangeError);
  assert.throws(() => startupMessage([['', 'x']]), RangeError);
});
