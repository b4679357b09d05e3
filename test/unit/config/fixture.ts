/** Configuration files in a temporary directory that goes away with the test. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Config } from '../../../src/config/config.ts';
import { type LoadOptions, loadConfig } from '../../../src/config/load.ts';
import type { Diagnostic } from '../../../src/config/types.ts';

export interface Files {
  /** Path of a file of the directory. */
  path(name: string): string;
  write(name: string, content: string): string;
}

export function files(t: TestContext): Files {
  const dir = mkdtempSync(join(tmpdir(), 'pgconcierge-config-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = (name: string): string => join(dir, name);
  return {
    path,
    write(name, content) {
      writeFileSync(path(name), content);
      return path(name);
    },
  };
}

/** Loads `content` as f.ini; messages and places name the file as `f.ini`. */
export function load(
  t: TestContext,
  content: string,
  options: LoadOptions = {},
): { config: Config | null; found: Diagnostic[]; errors: string[] } {
  const at = files(t);
  const path = at.write('f.ini', content);
  const { config, diagnostics } = loadConfig(path, options);
  const short = (text: string): string => text.replaceAll(path, 'f.ini');
  const found = diagnostics.map((d) => ({ ...d, file: short(d.file), message: short(d.message) }));
  return { config, found, errors: found.filter((d) => d.level === 'error').map((d) => d.message) };
}

/** Loads `content` and expects no error. */
export function loaded(t: TestContext, content: string, options: LoadOptions = {}): Config {
  const { config, errors } = load(t, content, options);
  assert.deepEqual(errors, []);
  assert.ok(config);
  return config;
}
