/** DBD::Pg, Perl's driver: libpq, named statements, asynchronous queries. */
// apt: libdbd-pg-perl
import { test } from 'node:test';
import { withProxied } from '../support/proxied.ts';
import { programPath, runDriver, skipUnless } from './driver-program.ts';

const PERL = '/usr/bin/perl';

test('DBD::Pg', { skip: skipUnless([PERL, '-MDBD::Pg', '-e', '1'], 'libdbd-pg-perl') }, async () => {
  await runDriver(
    await withProxied(),
    [PERL, programPath('with-dbd-pg.pl')],
    ['interleaved', 'transactions', 'copy', 'cancel', 'listen_notify', 'console'],
  );
});
