/** COPY for node-postgres without a further package: two queries that speak its (untyped) inner protocol. */
import type pg from 'pg';

interface CopyConnection {
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  sendCopyFail(why: string): void;
}

abstract class CopyQuery implements pg.Submittable {
  /** The result, or the server's error. */
  readonly done: Promise<string>;
  protected result = '';
  readonly #text: string;
  #resolve: (result: string) => void = () => {};
  #reject: (error: Error) => void = () => {};

  constructor(text: string) {
    this.#text = text;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  submit(connection: pg.Connection): void {
    (connection as unknown as CopyConnection).query(this.#text);
  }

  /** After an error the driver forgets the query: no ReadyForQuery is shown to it. */
  handleError(error: Error): void {
    this.#reject(error);
  }

  handleReadyForQuery(): void {
    this.#resolve(this.result);
  }
}

/** COPY … FROM STDIN: sends the chunks, or fails by itself when there are none. `done` is the command's tag. */
export class CopyIn extends CopyQuery {
  readonly #chunks: readonly string[] | null;

  constructor(text: string, chunks: readonly string[] | null) {
    super(text);
    this.#chunks = chunks;
  }

  handleCopyInResponse(connection: CopyConnection): void {
    if (this.#chunks === null) {
      connection.sendCopyFail('the test wants it so');
      return;
    }
    for (const chunk of this.#chunks) connection.sendCopyFromChunk(Buffer.from(chunk));
    connection.endCopyFrom();
  }

  handleCommandComplete(message: { readonly text: string }): void {
    this.result = message.text;
  }
}

/** COPY … TO STDOUT: `done` is everything that came, as text. */
export class CopyOut extends CopyQuery {
  handleCopyOutResponse(): void {}

  handleCopyData(message: { readonly chunk: Buffer }): void {
    this.result += message.chunk.toString();
  }

  handleCommandComplete(): void {}
}
