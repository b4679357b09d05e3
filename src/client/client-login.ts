/**
 * The first part of a client's life: TLS, the startup packet, who it is, whether it may come in (protocol-flow
 * "Start-up"; the order of the checks is PgBouncer's, pgbouncer.md §9). Ends in the relay, in the console, or with
 * one FATAL error.
 */
import tls from 'node:tls';
import { beginClientAuth, type ClientAuthExchange, type ClientAuthStep } from '../auth/client-auth.ts';
import { type HbaMethod, matchHba } from '../auth/hba.ts';
import { matchIdent } from '../auth/ident.ts';
import { peerCredentials } from '../net/peer-credentials.ts';
import { userByUid } from '../util/accounts.ts';
import { type ErrorCode, PoolerError } from '../util/errors.ts';
import { negotiateProtocolVersion } from '../wire/backend.ts';
import * as c from '../wire/codes.ts';
import { MessageReader, MessageTooLarge } from '../wire/message-reader.ts';
import type { Client, ClientPhaseHandler } from './client.ts';
import { parseStartup, type StartupRequest } from './startup.ts';

/** Before anybody is authenticated only this much is read (PostgreSQL's own limit for the startup packet). */
const STARTUP_LIMIT = 10_000;
/** Passwords may be up to 65,530 bytes. */
const AUTH_LIMIT = 65_600;
const REFUSED = Buffer.from('N');
const ACCEPTED = Buffer.from('S');

type Method = 'any' | 'trust' | 'plain' | 'md5' | 'scram-sha-256' | 'cert' | 'peer' | 'reject';

const HBA_METHODS: Readonly<Record<HbaMethod, Method | 'ldap'>> = {
  trust: 'trust',
  reject: 'reject',
  md5: 'md5',
  password: 'plain',
  peer: 'peer',
  cert: 'cert',
  'scram-sha-256': 'scram-sha-256',
  ldap: 'ldap',
};

export class ClientLogin implements ClientPhaseHandler {
  readonly #client: Client;
  readonly #reader = new MessageReader(STARTUP_LIMIT);
  #request: StartupRequest | null = null;
  #exchange: ClientAuthExchange | null = null;
  #encryptionAsked = 0;
  /** A look-up or an authentication step is running: input waits. */
  #busy = false;
  #over = false;

  constructor(client: Client) {
    this.#client = client;
  }

  onEnd(): void {
    this.#over = true;
  }

  onData(buffer: Buffer, n: number): void {
    if (this.#over) return;
    const client = this.#client;
    try {
      if (this.#request === null && this.#reader.pending === 0 && buffer[0] === 0x16) {
        this.#directTls(buffer, n);
        return;
      }
      this.#reader.push(buffer, 0, n);
      if (this.#reader.pending > 2 * this.#reader.limit) throw new MessageTooLarge(this.#reader.pending);
      this.#step();
    } catch (error) {
      if (error instanceof PoolerError) client.fail(error.code, error.argument);
      else if (error instanceof MessageTooLarge)
        client.fail('badPacketHeader', buffer.toString('hex', 0, Math.min(n, 8)));
      else throw error;
    }
  }

  #step(): void {
    while (!this.#busy && !this.#over) {
      if (this.#request === null) {
        const body = this.#reader.nextStartup();
        if (body === null) return;
        this.#onStartupPacket(body);
        continue;
      }
      const message = this.#reader.next();
      if (message === null) return;
      this.#onMessage(message.type, message.body);
    }
  }

  // --- the first packets

  #onStartupPacket(body: Buffer): void {
    const client = this.#client;
    const code = body.readUInt32BE(0);
    switch (code) {
      case c.CODE_SSL:
        this.#onSslRequest();
        return;
      case c.CODE_GSSENC:
        this.#countEncryptionRequest();
        if (this.#reader.pending > 0) throw new PoolerError('dataAfterGss');
        client.transport.writeOwned(REFUSED);
        return;
      case c.CODE_CANCEL:
        this.#over = true;
        client.registry.onCancelRequest(client, body.subarray(4));
        return;
      default:
    }
    const major = code >>> 16;
    if (major === 2) throw new PoolerError('oldProtocol');
    if (major !== 3)
      throw new PoolerError('badPacketHeader', body.toString('hex', 0, Math.min(8, body.length)));
    this.#onStartup(parseStartup(body, client.registry.startupRules));
  }

  /** Each kind of request may come once; more of them is somebody playing. */
  #countEncryptionRequest(): void {
    this.#encryptionAsked += 1;
    if (this.#encryptionAsked > 2) throw new PoolerError('badPacket');
  }

  #onSslRequest(): void {
    const client = this.#client;
    if (client.tls !== '') throw new PoolerError('sslInsideSsl');
    this.#countEncryptionRequest();
    if (this.#reader.pending > 0) throw new PoolerError('dataAfterSsl');
    const door = client.registry.clientTls;
    if (door === null || client.unix) {
      client.transport.writeOwned(REFUSED);
      return;
    }
    client.transport.writeOwned(ACCEPTED);
    this.#startTls(door.options, null);
  }

  /** TLS without SSLRequest (ALPN `postgresql`), as PostgreSQL 17 and PgBouncer 1.25 accept it. */
  #directTls(buffer: Buffer, n: number): void {
    const client = this.#client;
    const door = client.registry.clientTls;
    if (door === null || client.unix || client.tls !== '') {
      throw new PoolerError('badPacketHeader', buffer.toString('hex', 0, Math.min(8, n)));
    }
    this.#startTls({ ...door.options, ALPNProtocols: ['postgresql'] }, Buffer.from(buffer.subarray(0, n)));
  }

  #startTls(options: tls.TLSSocketOptions, already: Buffer | null): void {
    const client = this.#client;
    client.moveTo('tls');
    const raw = client.transport.socket;
    if (already !== null) raw.unshift(already);
    const secure = new tls.TLSSocket(raw, { ...options, isServer: true });
    client.transport.upgrade(secure);
    secure.once('secure', () => {
      if (this.#over) return;
      const door = client.registry.clientTls;
      const failed =
        (secure as tls.TLSSocket & { ssl?: { verifyError(): Error | null } }).ssl?.verifyError() ?? null;
      if (door?.verify === true && failed !== null) {
        client.leave(`TLS handshake failed: ${failed.message}`);
        return;
      }
      client.tls = `${secure.getProtocol() ?? ''}/${secure.getCipher().standardName}`;
      client.moveTo('startup');
    });
  }

  // --- the startup packet

  #onStartup(request: StartupRequest): void {
    const client = this.#client;
    const { registry } = client;
    this.#request = request;
    this.#reader.limit = AUTH_LIMIT;
    client.moveTo('auth');
    client.userName = request.user;
    client.databaseName = request.database;
    client.replication = request.replication;
    client.variables = request.variables;
    client.applicationName = registry.applicationName(client, request);
    if (registry.clientTls?.required === true && client.tls === '' && !client.unix)
      throw new PoolerError('sslRequired');
    if (request.negotiate !== 0) {
      client.transport.writeOwned(negotiateProtocolVersion(request.negotiate, request.unknownOptions));
    }
    const isConsole = registry.isConsole(request.database);
    if (!isConsole && registry.tooManyClients()) throw new PoolerError('tooManyClients');
    client.database = isConsole ? null : registry.pools.database(request.database);
    if (client.database !== null) {
      client.database.clients += 1;
      const limit = registry.maxDbClients(client.database);
      if (limit > 0 && client.database.clients > limit) throw new PoolerError('tooManyDbClients');
    }
    this.#busy = true;
    registry.findUser(client, request).then(
      (user) => {
        if (this.#over) return;
        this.#busy = false;
        client.guarded(() => this.#onUser(request, user, isConsole));
        if (!this.#over) this.onData(Buffer.alloc(0), 0);
      },
      (error: unknown) => {
        if (this.#over) return;
        if (error instanceof PoolerError) client.fail(error.code, error.argument);
        else client.fail('bouncerConfigError');
      },
    );
  }

  /** `secret` = what the password is checked against, null = nobody of that name. */
  #onUser(request: StartupRequest, secret: string | null, isConsole: boolean): void {
    const client = this.#client;
    const { registry } = client;
    const known = registry.pools.user(request.user);
    if (known !== null) {
      client.user = known;
      known.clients += 1;
      const limit = registry.maxUserClients(known.name);
      if (limit > 0 && known.clients > limit && !(isConsole && registry.isAdmin(known.name))) {
        throw new PoolerError('tooManyUserClients');
      }
    }
    if (registry.config.settings.logConnections)
      client.log.log(
        `login attempt: db=${request.database} user=${request.user} tls=${client.tls === '' ? 'no' : client.tls} replication=${request.replication === 'none' ? 'no' : request.replication}`,
      );
    if (isConsole && this.#sameSystemUser(request)) {
      client.log.log('pgbouncer access from unix socket');
      this.#enterConsole(true);
      return;
    }
    if (isConsole && !registry.mayUseConsole(request.user)) throw new PoolerError('notAllowed');
    const method = this.#method(request);
    if (secret === null && method !== 'any') client.log.log(`no such user: ${request.user}`);
    switch (method) {
      case 'reject':
        throw new PoolerError('loginRejected');
      case 'peer':
        this.#byPeer(request, secret);
        return;
      case 'cert':
        this.#byCertificate(request, secret);
        return;
      default:
    }
    const exchange = beginClientAuth({
      authType: method,
      user: request.user,
      secret,
      scramIterations: registry.config.settings.scramIterations,
    });
    this.#exchange = exchange;
    if (exchange.first === null) this.#onAuthStep(exchange.immediate as ClientAuthStep);
    else client.transport.writeOwned(exchange.first);
  }

  #enterConsole(admin: boolean): void {
    this.#over = true;
    this.#client.registry.openConsole(this.#client, admin, AUTHENTICATED, this.#reader.rest());
  }

  /** User `pgbouncer` over the unix socket as the process' own system user needs no password. */
  #sameSystemUser(request: StartupRequest): boolean {
    const client = this.#client;
    if (!client.unix || (request.user !== 'pgbouncer' && request.user !== 'pgconcierge')) return false;
    const peer = peerCredentials(client.transport.socket);
    return peer !== null && peer.uid === process.geteuid?.();
  }

  #method(request: StartupRequest): Method {
    const client = this.#client;
    const { registry } = client;
    const { authType } = registry.config.settings;
    if (authType === 'ldap' || authType === 'pam') throw new PoolerError('bouncerConfigError');
    if (authType !== 'hba') return authType;
    const rule = matchHba(registry.hbaRules, {
      type: client.unix ? 'local' : 'host',
      tls: client.tls !== '',
      database: request.database,
      user: request.user,
      address: client.unix ? null : client.addr,
      replication: request.replication,
    });
    if (rule === null) throw new PoolerError('noAuthMethod');
    this.#map = rule.options.get('map') ?? null;
    const method = HBA_METHODS[rule.method];
    if (method === 'ldap') throw new PoolerError('bouncerConfigError');
    return method;
  }

  #map: string | null = null;

  #byPeer(request: StartupRequest, secret: string | null): void {
    const client = this.#client;
    const peer = client.unix ? peerCredentials(client.transport.socket) : null;
    const name = peer === null ? null : (userByUid(peer.uid)?.name ?? null);
    if (name === null || secret === null || !this.#mapped(name, request.user))
      throw new PoolerError('unixLoginRejected');
    this.#accept();
  }

  #byCertificate(request: StartupRequest, secret: string | null): void {
    const socket = this.#client.transport.socket;
    const name = socket instanceof tls.TLSSocket ? (socket.getPeerCertificate().subject?.CN ?? '') : '';
    const common = Array.isArray(name) ? name.join(',') : name;
    const verified = this.#client.registry.clientTls?.verify === true;
    if (common === '' || !verified || secret === null || !this.#mapped(common, request.user)) {
      throw new PoolerError('certAuthFailed');
    }
    this.#accept();
  }

  #mapped(systemUser: string, user: string): boolean {
    const verdict = matchIdent(this.#client.registry.identMaps, this.#map, systemUser, user);
    if (!verdict.ok) this.#client.log.log(verdict.logText);
    return verdict.ok;
  }

  // --- authentication

  #onMessage(type: number, body: Buffer): void {
    if (type !== c.F_PASSWORD) {
      if (type === c.F_TERMINATE) this.#client.leave('client close request');
      else throw new PoolerError(type === 0 ? 'resentStartup' : 'unknownPacket');
      return;
    }
    if (this.#exchange === null) throw new PoolerError('unknownPacket');
    this.#busy = true;
    this.#exchange.respond(body).then((step) => {
      if (this.#over) return;
      this.#busy = false;
      this.#client.guarded(() => this.#onAuthStep(step));
      if (!this.#over) this.onData(Buffer.alloc(0), 0);
    });
  }

  #onAuthStep(step: ClientAuthStep): void {
    const client = this.#client;
    if (step.kind === 'send') {
      client.transport.writeOwned(step.bytes);
      return;
    }
    if (step.kind === 'fail') {
      client.log.log(`login failed: db=${client.databaseName} user=${client.userName} (${step.logText})`);
      this.#refuse(step.code, step.argument ?? '');
      return;
    }
    if (step.bytes.length > 0) client.transport.writeOwned(step.bytes);
    const learned = step.credentials;
    if (learned.password !== undefined || learned.scramKeys !== undefined) client.learned = learned;
    this.#accept();
  }

  #refuse(code: ErrorCode, argument: string): void {
    this.#over = true;
    this.#client.fail(code, argument);
  }

  /** The client is who it says; the last checks, then on to the console or to the pool. */
  #accept(): void {
    const client = this.#client;
    const { registry } = client;
    const request = this.#request as StartupRequest;
    if (registry.isConsole(request.database)) {
      this.#enterConsole(registry.isAdmin(request.user));
      return;
    }
    const { database } = client;
    if (database === null) {
      client.log.log(`login failed: db=${request.database} user=${request.user}`);
      throw new PoolerError('noSuchDatabase', request.database);
    }
    if (database.disabled) throw new PoolerError('databaseDisabled', database.name);
    if (registry.shuttingDown) throw new PoolerError('poolerShuttingDown');
    if (request.replication !== 'none') throw new PoolerError('replicationUnsupported');
    this.#over = true;
    registry.enterPool(client, request, this.#reader.rest());
  }
}

/** AuthenticationOk. */
export const AUTHENTICATED = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0]);
