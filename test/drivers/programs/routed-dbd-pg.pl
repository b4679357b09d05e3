# DBD::Pg on a routed database. Arguments: host, port, port of the primary. Prints `ok NAME` for every check.
use strict;
use warnings;
use DBI;
use Time::HiRes 'sleep';

my ($host, $port, $primary) = @ARGV;
my $WHERE = 'SELECT inet_server_port()';
$| = 1;

sub connected {
    my ($more) = @_;
    return DBI->connect("dbi:Pg:host=$host;port=$port;dbname=app", 'postgres', '',
        { RaiseError => 1, PrintError => 0, AutoCommit => 1, %{ $more // {} } });
}

sub one { my ($db, $sql, @values) = @_; return ($db->selectrow_array($sql, undef, @values))[0] }

sub until_replica {
    my ($db) = @_;
    for (1 .. 500) {
        return if one($db, $WHERE) != $primary;
        sleep 0.02;
    }
    die 'never on a replica';
}

sub both {
    my (%ports) = map { $_ => 1 } @_;
    die "ran on @{[keys %ports]}" if keys %ports != 2 || $ports{$primary};
}

sub reads {
    my $db = connected();
    until_replica($db);
    both(map { one($db, $WHERE) } 1 .. 20);
    # prepared by the server at once, and in its default way after the second run
    for my $now (0, 1) {
        my $st = $db->prepare("$WHERE WHERE ?::int = 1", { pg_server_prepare => 1, pg_prepare_now => $now });
        both(map { $st->execute(1); ($st->fetchrow_array)[0] } 1 .. 20);
    }
    $db->disconnect;
}

sub own_writes {
    my $db = connected();
    my $put = $db->prepare('INSERT INTO items VALUES (?, ?)');
    my $get = $db->prepare('SELECT max(n) FROM items WHERE who = ?');
    for my $i (0 .. 99) {
        $put->execute('dbd', $i);
        $get->execute('dbd');
        my ($n) = $get->fetchrow_array;
        die "$n, not $i" if $n != $i;
    }
    $db->disconnect;
}

sub transactions {
    my $db = connected({ AutoCommit => 0 });
    for my $i (0 .. 19) {
        $db->do('INSERT INTO items VALUES (?, ?)', undef, 'dbdtx', $i);
        if ($i % 2) { $db->rollback } else { $db->commit }
        my $n = one($db, 'SELECT max(n) FROM items WHERE who = ?', 'dbdtx');
        die "$n after $i" if $n != $i - $i % 2;
        $db->commit;
    }
    eval { $db->do('SELECT 1 / 0') };
    die "state @{[$db->state]}" if $db->state ne '22012';
    $db->rollback;
    die 'lost' if one($db, 'SELECT 1') != 1;
    $db->rollback;
    $db->disconnect;
}

sub read_only {
    my $db = connected();
    until_replica($db);
    $db->{AutoCommit} = 0;
    # it says SET TRANSACTION READ ONLY behind its BEGIN
    $db->{ReadOnly} = 1;
    for (1 .. 6) {
        die 'on the primary' if one($db, $WHERE) == $primary;
        $db->commit;
    }
    $db->{ReadOnly} = 0;
    die 'not on the primary' if one($db, $WHERE) != $primary;
    $db->rollback;
    $db->disconnect;
}

sub lies {
    my $db = connected();
    until_replica($db);
    my $before = one($db, 'SELECT count(*) FROM notes');
    my $st = $db->prepare('SELECT noted(?)');
    for my $i (1 .. 5) {
        $st->execute($i);
        die 'nothing' unless defined(($st->fetchrow_array)[0]);
    }
    my $after = one($db, 'SELECT count(*) FROM notes');
    die "$after after $before" if $after != $before + 5;
    $db->disconnect;
}

for my $check (qw(reads own_writes transactions read_only lies)) {
    no strict 'refs';
    &$check();
    (my $name = $check) =~ tr/_/ /;
    print "ok $name\n";
}
