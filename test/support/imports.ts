/**
 * Reads what the files of src/ import, for the rules that the linter cannot express: which imports are of types
 * only, and `import('…')` inside a type. A text scan: it knows the project's own style, not all of TypeScript.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

export interface SourceFile {
  /** Path relative to the scanned folder, with `/`. */
  readonly name: string;
  readonly text: string;
}

export interface ImportEdge {
  readonly file: string;
  readonly line: number;
  /** Target relative to the scanned folder: `wire/codes.ts`. */
  readonly target: string;
  /** Nothing of it is left at run time. */
  readonly typeOnly: boolean;
}

/** All .ts files under `folder`, sorted. */
export function sourceFiles(folder: string): SourceFile[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => name.split(path.sep).join('/'))
    .filter((name) => name.endsWith('.ts'))
    .sort()
    .map((name) => ({ name, text: readFileSync(path.join(folder, name), 'utf8') }));
}

/** `text` with comments blanked (line numbers stay), so that words in prose do not count as code. */
export function withoutComments(text: string): string {
  const blank = (comment: string): string => comment.replace(/[^\n]/g, ' ');
  return text.replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, blank);
}

const STATEMENT = /^(?:import|export)\b(?<clause>[^;'"=(]*?)\s*(?:\bfrom\s*)?['"](?<from>\.[^'"]*)['"]/gm;
const EXPRESSION = /\bimport\(\s*['"](?<from>\.[^'"]*)['"]/g;

/** Relative imports of one file: static, re-exports, dynamic, and `import('…')` types (counted as not type-only). */
export function importsOf(file: SourceFile): ImportEdge[] {
  const text = withoutComments(file.text);
  const edges: ImportEdge[] = [];
  const add = (at: number, from: string, typeOnly: boolean): void => {
    const line = text.slice(0, at).split('\n').length;
    const target = path.posix.join(path.posix.dirname(file.name), from);
    edges.push({ file: file.name, line, target, typeOnly });
  };
  for (const match of text.matchAll(STATEMENT)) {
    const clause = match.groups?.['clause'] ?? '';
    add(match.index, match.groups?.['from'] ?? '', /^\s+type\b(?!\s*(?:,|from\b))/.test(clause));
  }
  for (const match of text.matchAll(EXPRESSION)) add(match.index, match.groups?.['from'] ?? '', false);
  return edges;
}
