/** One HTTP GET with a time limit and a limit of size, for the checks that ask a REST API. */
import http from 'node:http';
import https from 'node:https';
import { describeError } from '../util/system-error.ts';
import { CheckError } from './monitor-connection.ts';

const MAX_BODY = 1024 * 1024;

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/** Rejects with CheckError: refused, lost or timeout. Redirects are not followed: an answer is an answer. */
export function httpGet(url: string, timeoutMs: number): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const get = url.startsWith('https:') ? https.get : http.get;
    const request = get(url, { agent: false, headers: { accept: 'application/json' } });
    const fail = (kind: 'refused' | 'lost' | 'timeout', why: string): void => {
      clearTimeout(timer);
      request.destroy();
      reject(new CheckError(kind, `${url}: ${why}`));
    };
    const timer = setTimeout(() => fail('timeout', `no answer within ${timeoutMs / 1000} s`), timeoutMs);
    request.on('error', (error) => fail('refused', describeError(error)));
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_BODY) fail('lost', 'the answer is too long');
        else chunks.push(chunk);
      });
      response.on('error', (error) => fail('lost', describeError(error)));
      response.on('end', () => {
        clearTimeout(timer);
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') });
      });
    });
  });
}
