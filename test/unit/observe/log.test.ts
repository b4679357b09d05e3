/** Lines, levels, formats, rotation, reconfiguration and syslog of the log, in this process. */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLog, type LogOptions, type LogPlace, type LogSink } from '../../../src/observe/log.ts';
import { cleanText, zoneAbbreviation } from '../../../src/observe/log-line.ts';
import { socketLog, socketPrefix } from '../../../src/observe/socket-log.ts';
import type { Log } from '../../../src/util/log.ts';
import { SILENT } from '../../../src/util/log.ts';

const OPTIONS: LogOptions = {
  logfile: '',
  quiet: true,
  syslog: false,
  syslogIdent: 'pgbouncer',
  syslogFacility: 'daemon',
  format: 'pgbouncer',
  verbose: 0,
};

const AT = Date.UTC(2026, 10, 20, 18, 23, 54, 57);

interface House {
  readonly directory: string;
  readonly logfile: string;
  readonly stderr: string;
  open(options: Partial<LogOptions>, place?: Partial<LogPlace>): LogSink;
  /** What stands in the file, after a flush. */
  text(path?: string): string;
}

/** A directory, a file as stderr, and logs that are closed at the end. */
async function inHouse(work: (house: House) => void | Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'log-'));
  const logs: LogSink[] = [];
  const logfile = join(directory, 'p.log');
  const stderr = join(directory, 'stderr');
  const fd = openSync(stderr, 'a');
  const place: LogPlace = {
    stderrFd: fd,
    syslogSocket: join(directory, 'no-dev-log'),
    syslogProgram: join(directory, 'no-logger'),
    pid: 23089,
    wall: () => AT,
  };
  try {
    await work({
      directory,
      logfile,
      stderr,
      open(options, changes = {}) {
        const log = createLog({ ...OPTIONS, ...options }, { ...place, ...changes });
        logs.push(log);
        return log;
      },
      text(path = logfile) {
        for (const log of logs) log.flush();
        return readFileSync(path, 'utf8');
      },
    });
  } finally {
    for (const log of logs) log.close();
    closeSync(fd);
    rmSync(directory, { recursive: true });
  }
}

async function until(what: () => boolean): Promise<void> {
  const end = Date.now() + 5000;
  while (!what()) {
    assert.ok(Date.now() < end, 'waited 5 s');
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** The local form of AT, by other means than the code's. */
function localStamp(): string {
  const at = new Date(AT - new Date(AT).getTimezoneOffset() * 60_000);
  return at.toISOString().replace('T', ' ').replace('Z', '');
}

test("a line has PgBouncer's form", () =>
  inHouse(({ open, text, logfile }) => {
    open({ logfile }).log('process up');
    assert.equal(text(), `${localStamp()} ${zoneAbbreviation(AT)} [23089] LOG process up\n`);
  }));

test('every level has its word; DEBUG and NOISE are shown on demand only', () =>
  inHouse(({ open, text, logfile }) => {
    for (const verbose of [0, 1, 2]) {
      const log = open({ logfile, verbose });
      log.log('a');
      log.warning('b');
      log.error('c');
      log.fatal('d');
      log.debug('e');
      log.noise('f');
      assert.equal(log.shows('DEBUG'), verbose >= 1);
      assert.equal(log.shows('NOISE'), verbose >= 2);
      log.flush();
    }
    const words = text()
      .split('\n')
      .map((line) => line.slice(line.indexOf(']') + 2))
      .join(';');
    const always = 'LOG a;WARNING b;ERROR c;FATAL d;';
    assert.equal(words, `${always}${always}DEBUG e;${always}DEBUG e;NOISE f;`);
  }));

test('time zones: abbreviation where there is one, else the offset as tzdata writes it', () => {
  const winter = Date.UTC(2026, 0, 15);
  const summer = Date.UTC(2026, 6, 15);
  assert.equal(zoneAbbreviation(winter, 'UTC'), 'UTC');
  assert.equal(zoneAbbreviation(winter, 'Europe/Berlin'), 'CET');
  assert.equal(zoneAbbreviation(summer, 'Europe/Berlin'), 'CEST');
  assert.equal(zoneAbbreviation(winter, 'America/New_York'), 'EST');
  assert.equal(zoneAbbreviation(winter, 'Asia/Kolkata'), 'IST');
  assert.equal(zoneAbbreviation(winter, 'America/Sao_Paulo'), '-03');
  assert.equal(zoneAbbreviation(winter, 'Asia/Kathmandu'), '+0545');
});

test('what comes from a client cannot forge a line or drive a terminal', () =>
  inHouse(({ open, text, logfile }) => {
    const log = open({ logfile });
    log.log('login failed: user=x\n2026-11-20 18:23:54.057 UTC [1] FATAL forged');
    log.log(
      'esc \u001b[2J bell \u0007 csi \u009b0m cr \r tab \t bidi \u202e nel \u0085 ls \u2028 lone \ud800!',
    );
    const lines = text().split('\n');
    assert.equal(lines.length, 3);
    assert.match(lines[0] ?? '', /LOG login failed: user=x\\n2026-/);
    const shown =
      'esc \\x1b[2J bell \\x07 csi \\x9b0m cr \\r tab \\t bidi \\u{202e} nel \\x85 ls \\u{2028} lone \\u{d800}!';
    assert.ok(lines[1]?.endsWith(shown), lines[1]);
  }));

test('ordinary text in any script is left alone, a huge one is cut', () => {
  assert.equal(cleanText('größe 名前 😀 "quoted" \\n'), 'größe 名前 😀 "quoted" \\n');
  const cut = cleanText('u'.repeat(65_000));
  assert.equal(cut.length, 8195);
  assert.ok(cut.endsWith('u...'));
});

test('json: one object a line with time, level, pid, msg and the fields', () =>
  inHouse(({ open, text, logfile }) => {
    const log = open({ logfile, format: 'json', verbose: 1 });
    log.warning('server login failed\n"x"', {
      database: 'd1',
      tries: 3,
      cached: true,
      pid: 7,
      name: 'a\u001bb',
    });
    log.debug('plain');
    const lines = text().trimEnd().split('\n');
    assert.equal(lines.length, 2);
    assert.deepEqual(
      lines.map((line) => JSON.parse(line)),
      [
        {
          level: 'WARNING',
          time: '2026-11-20T18:23:54.057Z',
          pid: 23089,
          database: 'd1',
          tries: 3,
          cached: true,
          field_pid: 7,
          name: 'a\\x1bb',
          msg: 'server login failed\\n"x"',
        },
        { level: 'DEBUG', time: '2026-11-20T18:23:54.057Z', pid: 23089, msg: 'plain' },
      ],
    );
    assert.equal(lines[0]?.match(/"pid"/g)?.length, 1);
  }));

test('stderr and file get the same lines; quiet leaves stderr out', () =>
  inHouse(({ open, text, logfile, stderr }) => {
    const log = open({ logfile, quiet: false });
    log.log('both');
    assert.equal(text(), text(stderr));
    assert.match(text(), /both/);
    log.reconfigure({ ...OPTIONS, logfile, quiet: true });
    log.log('file only');
    assert.match(text(), /file only/);
    assert.doesNotMatch(text(stderr), /file only/);
  }));

test('reopen: lines go to the new file after a rotation, none is lost', () =>
  inHouse(async ({ open, text, logfile, directory }) => {
    const log = open({ logfile });
    for (let i = 0; i < 1000; i++) {
      log.log(`n${i}`);
      if (i % 100 === 50) await new Promise((done) => setImmediate(done));
      if (i === 500) {
        renameSync(logfile, join(directory, 'old.log'));
        log.reopen();
      }
    }
    await until(() => readFileSync(logfile, 'utf8').endsWith('n999\n'));
    const all = readFileSync(join(directory, 'old.log'), 'utf8') + text();
    assert.equal(all.match(/LOG n\d+\n/g)?.length, 1000);
    assert.match(text(), /n999\n$/);
  }));

test('reopen that fails keeps the old file and says so elsewhere', () =>
  inHouse(({ open, text, directory, stderr }) => {
    const parent = join(directory, 'logs');
    const at = join(parent, 'p.log');
    // a directory that goes away under the log
    const moved = join(directory, 'moved');
    mkdirSync(parent);
    const log = open({ logfile: at, quiet: false });
    renameSync(parent, moved);
    log.reopen();
    log.log('still here');
    assert.match(text(join(moved, 'p.log')), /LOG still here\n$/);
    assert.match(text(stderr), /WARNING cannot reopen logfile '.*': No such file or directory\n/);
  }));

test('a logfile that cannot be opened is an error at the start, and leaves all as it was at a reload', () =>
  inHouse(({ open, text, logfile, directory }) => {
    const bad = join(directory, 'none', 'p.log');
    assert.throws(() => open({ logfile: bad }), {
      message: `cannot open logfile: '${bad}': No such file or directory`,
    });
    const log = open({ logfile });
    assert.throws(() => log.reconfigure({ ...OPTIONS, logfile: bad }), /cannot open logfile/);
    log.log('goes on');
    assert.match(text(), /goes on/);
  }));

test('reconfigure: another file, another format, another level, at once', () =>
  inHouse(({ open, text, logfile, directory }) => {
    const log = open({ logfile });
    log.log('one');
    const second = join(directory, 'second.log');
    log.reconfigure({ ...OPTIONS, logfile: second, format: 'json', verbose: 1 });
    log.debug('two');
    assert.match(text(), /LOG one\n$/);
    assert.equal(JSON.parse(text(second)).msg, 'two');
  }));

test(
  'a full disk costs the lines, not the process, and is said once',
  { skip: !existsSync('/dev/full') },
  () =>
    inHouse(async ({ open, text, stderr }) => {
      const log = open({ logfile: '/dev/full', quiet: false });
      for (let round = 0; round < 3; round++) {
        log.log('a line');
        await until(() => log.droppedLines() > round);
      }
      assert.ok(log.droppedLines() >= 3);
      assert.equal(
        text(stderr).match(/cannot write to logfile '\/dev\/full': No space left on device/g)?.length,
        1,
      );
    }),
);

test('syslog: records over a stream socket, with facility, severity, ident and pid', () =>
  inHouse(async ({ open, directory }) => {
    const path = join(directory, 'dev-log');
    let got = '';
    const server = createServer((socket) => {
      socket.setEncoding('utf8').on('data', (chunk: string) => {
        got += chunk;
      });
    });
    await new Promise<void>((done) => server.listen(path, done));
    try {
      const log = open(
        { syslog: true, syslogIdent: 'pooler', syslogFacility: 'local3' },
        { syslogSocket: path },
      );
      log.log('hello');
      log.error('bad\nthing');
      await until(() => got.split('\0').length === 3);
      const [first, second] = got.split('\0');
      // local3 = 19; info = 6, err = 3
      assert.match(first ?? '', /^<158>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d pooler\[23089\]: hello$/);
      assert.match(second ?? '', /^<155>.*: bad\\nthing$/);
      log.close();
    } finally {
      server.close();
    }
  }));

test('syslog: the logger program gets priorities and lines', () =>
  inHouse(async ({ open, directory }) => {
    const program = join(directory, 'logger');
    const out = join(directory, 'out');
    writeFileSync(program, `#!/bin/sh\necho "$@" > ${out}\nexec cat >> ${out}\n`, { mode: 0o755 });
    const log = open({ syslog: true, syslogFacility: 'daemon' }, { syslogProgram: program });
    log.warning('hello');
    log.log('there');
    await until(() => existsSync(out) && readFileSync(out, 'utf8').includes('there'));
    const [args, ...lines] = readFileSync(out, 'utf8').split('\n');
    assert.match(args ?? '', /--prio-prefix .*--tag pgbouncer --id=23089/);
    assert.deepEqual(lines, ['<28>hello', '<30>there', '']);
    assert.equal(log.droppedLines(), 0);
  }));

test('syslog: when there is none that is said once, and the lines are counted', () =>
  inHouse(async ({ open, text, stderr }) => {
    const log = open({ syslog: true, quiet: false });
    log.log('one');
    await until(() => /syslog is not available/.test(text(stderr)));
    log.log('two');
    log.log('three');
    await until(() => log.droppedLines() >= 2);
    assert.equal(text(stderr).match(/syslog is not available/g)?.length, 1);
    assert.match(
      text(stderr),
      /WARNING syslog is not available: .*no-dev-log .*no-logger: No such file or directory/,
    );
    assert.ok(log.droppedLines() >= 2);
  }));

test("socket lines: PgBouncer's prefix", () => {
  const socket = {
    side: 'C' as const,
    ptr: '0x55ea9b64c258',
    database: 'db',
    user: 'user',
    addr: '127.0.0.1',
    port: 49834,
    remotePid: 0,
  };
  assert.equal(socketPrefix(socket), 'C-0x55ea9b64c258: db/user@127.0.0.1:49834');
  assert.equal(
    socketPrefix({ ...socket, side: 'S', addr: '::1', database: '', user: '' }),
    'S-0x55ea9b64c258: (nodb)/(nouser)@[::1]:49834',
  );
  assert.equal(
    socketPrefix({ ...socket, addr: 'unix', remotePid: 42, port: 6432 }),
    'C-0x55ea9b64c258: db/user@unix(42):6432',
  );
});

test('socketLog: asks for the prefix at each shown line, and not for others', () => {
  const lines: string[] = [];
  let asked = 0;
  const sink: Log & { shows(level: string): boolean } = {
    ...SILENT,
    log: (text) => void lines.push(text),
    debug: (text) => void lines.push(text),
    shows: (level) => level !== 'DEBUG',
  };
  let name = 'C-1: (nodb)/(nouser)@h:1';
  const log = socketLog(sink, () => {
    asked += 1;
    return name;
  });
  log.log('login attempt');
  name = 'C-1: d/u@h:1';
  log.log('closing because: x (age=0s)');
  log.debug('hidden');
  assert.deepEqual(lines, [
    'C-1: (nodb)/(nouser)@h:1 login attempt',
    'C-1: d/u@h:1 closing because: x (age=0s)',
  ]);
  assert.equal(asked, 2);
});
