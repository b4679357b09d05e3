# DBD::Pg through the proxy: named statements by PQprepare, which it gives up with DEALLOCATE in SQL. Arguments: host,
# port. Prints `ok NAME` for every check; the databases are those of test/support/proxied.ts.
use strict;
use warnings;
use DBI;
use DBD::Pg qw(:async :pg_types);

my ($host, $port) = @ARGV;
$| = 1;

sub dial {
    my ($database, %more) = @_;
    my $user = $database eq 'pgbouncer' ? 'postgres' : 'app';
    my %attributes = (RaiseError => 1, PrintError => 0, AutoCommit => 1, %more);
    return DBI->connect("dbi:Pg:host=$host;port=$port;dbname=$database", $user, $user, \%attributes);
}

sub same {
    my ($actual, $expected) = @_;
    die "is " . ($actual // 'undef') . ", should be $expected\n" unless defined $actual && $actual eq $expected;
}

sub state_of {
    my ($handle, $work) = @_;
    return 'no error' if eval { $work->(); 1 };
    return $handle->state;
}

sub interleaved {
    my ($one, $two) = (dial('one'), dial('one'));
    # server-side statements from the first run on
    $_->{pg_switch_prepared} = 1 for $one, $two;
    my $of_one = $one->prepare('SELECT ?::int * 2');
    my $of_two = $two->prepare('SELECT ?::int * 3');
    for my $i (1 .. 30) {
        $of_one->execute($i);
        same($of_one->fetchrow_array, $i * 2);
        $of_two->execute($i);
        same($of_two->fetchrow_array, $i * 3);
    }
    $_->finish for $of_one, $of_two;
    $_->disconnect for $one, $two;
}

sub transactions {
    my ($one, $two) = (dial('tx', AutoCommit => 0), dial('tx'));
    $one->do('DROP TABLE IF EXISTS pl_tx');
    $one->do('CREATE TABLE pl_tx (id int PRIMARY KEY)');
    $one->commit;
    my $insert = $one->prepare('INSERT INTO pl_tx VALUES (?)');
    $insert->execute(1);
    same($two->selectrow_array('SELECT count(*) FROM pl_tx'), 0);
    same(state_of($one, sub { $insert->execute(1) }), '23505');
    same(state_of($one, sub { $one->do('SELECT 1') }), '25P02');
    $one->rollback;
    $insert->execute(2);
    $one->pg_savepoint('s');
    same(state_of($one, sub { $insert->execute(2) }), '23505');
    $one->pg_rollback_to('s');
    $insert->execute(3);
    $one->commit;
    same(join(',', @{ $two->selectcol_arrayref('SELECT id FROM pl_tx ORDER BY id') }), '2,3');
    $_->disconnect for $one, $two;
}

sub copy {
    my $one = dial('tx');
    $one->do('DROP TABLE IF EXISTS pl_copy');
    $one->do('CREATE TABLE pl_copy (id int PRIMARY KEY, t text)');
    $one->do('COPY pl_copy FROM STDIN');
    $one->pg_putcopydata("$_\trow $_\n") for 1 .. 20000;
    $one->pg_putcopyend;
    $one->do('COPY (SELECT * FROM pl_copy ORDER BY id) TO STDOUT');
    my ($line, $n) = ('', 0);
    while ($one->pg_getcopydata($line) >= 0) { $n++; same($line, "$n\trow $n\n"); }
    same($n, 20000);
    $one->do('COPY pl_copy FROM STDIN');
    same(state_of($one, sub { $one->pg_putcopydata("1\tx\n"); $one->pg_putcopyend }), '23505');
    same($one->selectrow_array('SELECT count(*) FROM pl_copy'), 20000);
    $one->disconnect;
}

sub cancel {
    my $one = dial('tx');
    my $watcher = dial('sess');
    $one->do("SELECT 'pl victim' FROM pg_sleep(60)", { pg_async => PG_ASYNC });
    1 until $watcher->selectrow_array(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pl victim%' AND pid <> pg_backend_pid()");
    $one->pg_cancel;
    same($one->state, '57014');
    same($one->selectrow_array('SELECT 1'), 1);
    $_->disconnect for $one, $watcher;
}

sub listen_notify {
    my ($one, $two) = (dial('sess'), dial('sess'));
    $one->do('LISTEN pl');
    $two->do("NOTIFY pl, 'hello'");
    my $told;
    1 until $told = $one->pg_notifies;
    same($told->[2], 'hello');
    $_->disconnect for $one, $two;
}

sub console {
    my $one = dial('pgbouncer');
    my $pools = $one->selectall_arrayref('SHOW POOLS', { Slice => {} });
    same(scalar(grep { $_->{database} eq 'tx' && $_->{pool_mode} eq 'transaction' } @$pools), 1);
    $one->do('PAUSE tx');
    $one->do('RESUME tx');
    same(state_of($one, sub { $one->do('PAUSE nowhere') }), '08P01');
    $one->disconnect;
}

my @checks = (
    interleaved => \&interleaved, transactions => \&transactions, copy => \&copy, cancel => \&cancel,
    listen_notify => \&listen_notify, console => \&console,
);
while (my ($name, $check) = splice @checks, 0, 2) {
    $check->();
    print "ok $name\n";
}
