/**
 * Logging in to a PostgreSQL server: TLS negotiation, startup packet, authentication, the parameters it reports
 * (protocol-flow "Start-up", "SSL Session Encryption"). One object per attempt, thrown away at ReadyForQuery.
 */
import net from 'node:net';
import tls from 'node:tls';
import { beginServerAuth, type ServerAuthExchange, type ServerCredentials } from '../auth/server-login.ts';
import type { Transport } from '../net/transport.ts';
import * as c from '../wire/codes.ts';
import { decodeError, decodeParameter, type ServerError } from '../wire/fields.ts';
import { sslRequest, startupMessage } from '../wire/frontend.ts';
import { MessageReader } from '../wire/message-reader.ts';

/** How to encrypt: `prefer` goes on in clear text when the server says N. */
export interface ServerTls {
  readonly mode: 'disable' | 'prefer' | 'require' | 'verify-ca' | 'verify-full';
  readonly options: tls.ConnectionOptions;
}

export interface LoginRequest {
  readonly credentials: ServerCredentials;
  /** user, database and whatever else goes into the startup packet. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly tls: ServerTls;
  /** For verify-full; '' for unix sockets, which are never encrypted. */
  readonly hostName: string;
}

export interface LoginResult {
  readonly pid: number;
  readonly secret: Buffer;
  /** In the order reported, names as the server spells them. */
  readonly parameters: ReadonlyMap<string, string>;
  /** '' or `TLSv1.3/TLS_AES_256_GCM_SHA384`. */
  readonly tls: string;
  /** What came right behind ReadyForQuery (a notice, a changed parameter); seldom anything. */
  readonly rest: Buffer;
}

export interface LoginEvents {
  onLoggedIn(result: LoginResult): void;
  /** The server refused (`error`), or it cannot be talked to (`error` null, `reason` says why). */
  onLoginFailed(reason: string, error: ServerError | null): void;
  onTls(): void;
  onStartup(): void;
}

const LOGIN_LIMIT = 1024 * 1024;

export class ServerLogin {
  readonly #transport: Transport;
  readonly #request: LoginRequest;
  readonly #events: LoginEvents;
  readonly #reader = new MessageReader(LOGIN_LIMIT);
  readonly #auth: ServerAuthExchange;
  readonly #parameters = new Map<string, string>();
  #awaitingTls = false;
  /** An asynchronous authentication step is running: messages wait. */
  #busy = false;
  #authenticated = false;
  #over = false;
  #pid = 0;
  #secret: Buffer = Buffer.alloc(4);
  #tls = '';

  constructor(transport: Transport, request: LoginRequest, events: LoginEvents) {
    this.#transport = transport;
    this.#request = request;
    this.#events = events;
    this.#auth = beginServerAuth(request.credentials);
  }

  /** The TCP connection is up. */
  start(): void {
    if (this.#request.tls.mode === 'disable' || this.#request.hostName === '') {
      this.#sendStartup();
      return;
    }
    this.#awaitingTls = true;
    this.#events.onTls();
    this.#transport.writeOwned(sslRequest());
  }

  /** The attempt is given up: late answers of asynchronous steps are ignored. */
  cancel(): void {
    this.#over = true;
  }

  onData(buffer: Buffer, n: number): void {
    if (this.#over) return;
    if (this.#awaitingTls) {
      this.#onTlsAnswer(buffer, n);
      return;
    }
    this.#reader.push(buffer, 0, n);
    this.#drain();
  }

  #sendStartup(): void {
    this.#events.onStartup();
    this.#transport.writeOwned(startupMessage(Object.entries(this.#request.parameters), c.PROTOCOL_3_0));
  }

  #onTlsAnswer(buffer: Buffer, n: number): void {
    const answer = buffer[0];
    this.#awaitingTls = false;
    if (answer === 0x4e && n === 1) {
      if (this.#request.tls.mode === 'prefer') this.#sendStartup();
      else this.#fail('server refused SSL', null);
      return;
    }
    // anything after S was sent in clear text by somebody in between (CVE-2021-23222)
    if (answer !== 0x53 || n !== 1) {
      this.#fail(
        answer === 0x53 ? 'received unencrypted data after SSL response' : 'bad answer to SSLRequest',
        null,
      );
      return;
    }
    const { mode, options } = this.#request.tls;
    const named = net.isIP(this.#request.hostName) === 0;
    const secure = tls.connect({
      ...options,
      socket: this.#transport.socket,
      ...(named ? { servername: this.#request.hostName } : {}),
      rejectUnauthorized: mode === 'verify-ca' || mode === 'verify-full',
      checkServerIdentity: (_host, certificate) =>
        mode === 'verify-full' ? tls.checkServerIdentity(this.#request.hostName, certificate) : undefined,
    });
    this.#transport.upgrade(secure);
    secure.once('secureConnect', () => {
      if (this.#over) return;
      this.#tls = `${secure.getProtocol() ?? ''}/${secure.getCipher().standardName}`;
      this.#sendStartup();
    });
  }

  #fail(reason: string, error: ServerError | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.onLoginFailed(reason, error);
  }

  #drain(): void {
    while (!this.#busy && !this.#over) {
      let message: ReturnType<MessageReader['next']>;
      try {
        message = this.#reader.next();
      } catch {
        this.#fail('bad packet from server during login', null);
        return;
      }
      if (message === null) return;
      this.#onMessage(message.type, message.body);
    }
  }

  #onMessage(type: number, body: Buffer): void {
    switch (type) {
      case c.B_AUTHENTICATION:
        this.#authenticate(body);
        return;
      case c.B_PARAMETER_STATUS: {
        const parameter = decodeParameter(body);
        if (parameter !== null) this.#parameters.set(parameter.name, parameter.value);
        return;
      }
      case c.B_BACKEND_KEY_DATA:
        if (body.length < 8) {
          this.#fail('bad BackendKeyData', null);
          return;
        }
        this.#pid = body.readInt32BE(0);
        this.#secret = Buffer.from(body.subarray(4));
        return;
      case c.B_ERROR: {
        const error = decodeError(body);
        this.#fail(`server login failed: ${error.severity} ${error.message}`, error);
        return;
      }
      case c.B_NOTICE:
      case c.B_NEGOTIATE:
        return;
      case c.B_READY_FOR_QUERY:
        // a server that skips the end of SCRAM has not proved that it knows our secret
        if (!this.#authenticated) {
          this.#fail('unexpected ReadyForQuery from server during login', null);
          return;
        }
        this.#over = true;
        this.#events.onLoggedIn({
          pid: this.#pid,
          secret: this.#secret,
          parameters: this.#parameters,
          tls: this.#tls,
          rest: this.#reader.rest(),
        });
        return;
      default:
        this.#fail(`unknown pkt from server during login: ${type}`, null);
    }
  }

  #authenticate(body: Buffer): void {
    this.#busy = true;
    this.#auth.onAuthentication(body).then(
      (step) => {
        if (this.#over) return;
        this.#busy = false;
        if (step.kind === 'fail') {
          const message = `server login failed: ${step.reason}`;
          this.#fail(`server login failed: ${step.logText}`, {
            severity: 'FATAL',
            sqlstate: '08P01',
            message,
            routine: '',
          });
          return;
        }
        if (step.kind === 'ok') this.#authenticated = true;
        if (step.kind === 'send') this.#transport.writeOwned(step.bytes);
        this.#drain();
      },
      (error: unknown) => this.#fail(`authentication failed: ${String(error)}`, null),
    );
  }
}
