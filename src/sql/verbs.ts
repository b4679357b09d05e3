/**
 * What the first words of a statement say without a parse: writes known by their verb, whether data can change, and
 * whether the catalog does.
 */

/** The first words of one statement, upper case; more than any rule here needs. */
export type Words = readonly string[];

/** A statement that begins so is a write, whatever follows. PREPARE is one of them or, with TRANSACTION, control. */
const WRITE_VERBS = new Set(
  (
    'INSERT UPDATE DELETE MERGE CREATE ALTER DROP TRUNCATE GRANT REVOKE VACUUM ANALYZE ANALYSE CLUSTER REINDEX REPACK ' +
    'REFRESH COMMENT LOCK CALL DO LISTEN UNLISTEN NOTIFY LOAD CHECKPOINT DISCARD DECLARE FETCH MOVE CLOSE PREPARE ' +
    'EXECUTE DEALLOCATE IMPORT REASSIGN SECURITY'
  ).split(' '),
);

const TRANSACTION_VERBS = new Set('BEGIN START COMMIT END ROLLBACK ABORT SAVEPOINT RELEASE'.split(' '));

/** Verbs that change nothing which a read could see. */
const NO_DATA = new Set(
  (
    'SET RESET SHOW LISTEN UNLISTEN NOTIFY DISCARD DEALLOCATE PREPARE CLOSE CHECKPOINT LOAD LOCK BEGIN START COMMIT END ' +
    'ROLLBACK ABORT SAVEPOINT RELEASE'
  ).split(' '),
);

/** What CREATE, ALTER and DROP may be applied to without any function, schema or unlogged table appearing or going. */
const NOT_CATALOG = new Set(
  (
    'TEMP TEMPORARY GLOBAL LOCAL INDEX UNIQUE ROLE USER GROUP DATABASE TABLESPACE SUBSCRIPTION PUBLICATION STATISTICS ' +
    'POLICY TRIGGER EVENT RULE SYSTEM DEFAULT LARGE COLLATION CONVERSION TEXT SERVER'
  ).split(' '),
);

/** True when no parse is needed to know that it is a write with rule 'command'. */
export function isWriteVerb(words: Words): boolean {
  const [verb = '', second = ''] = words;
  return WRITE_VERBS.has(verb) && !(verb === 'PREPARE' && second === 'TRANSACTION');
}

/** BEGIN, COMMIT, SAVEPOINT, PREPARE TRANSACTION … */
export function isTransactionVerb(words: Words): boolean {
  const [verb = '', second = ''] = words;
  return TRANSACTION_VERBS.has(verb) || (verb === 'PREPARE' && second === 'TRANSACTION');
}

/** False when the command cannot have changed data. For commands only: what a SELECT does is not told by its verb. */
export function mayChangeData(words: Words): boolean {
  const [verb = '', second = ''] = words;
  if (verb === 'DISCARD') return second === 'TEMP' || second === 'TEMPORARY';
  // COMMIT PREPARED ends a transaction that wrote
  if (verb === 'COMMIT') return second === 'PREPARED';
  return !NO_DATA.has(verb);
}

/** True when what is known of functions, schemas and unlogged tables may be old after this statement. */
export function mayAlterCatalog(words: Words): boolean {
  const [verb = '', second = '', third = '', fourth = ''] = words;
  if (verb === 'IMPORT') return true;
  if (verb !== 'CREATE' && verb !== 'ALTER' && verb !== 'DROP') return false;
  if (second === 'OR' && third === 'REPLACE') return !NOT_CATALOG.has(fourth);
  return !NOT_CATALOG.has(second);
}

const ENOUGH = 120;

function wordsAt(text: string, from: number): Words {
  return (text.slice(from, from + ENOUGH).match(/[A-Za-z_]+/g) ?? []).slice(0, 4).map((w) => w.toUpperCase());
}

/**
 * The first words of each statement that is not empty, of a text that went through the lexer. An approximation where a
 * function body stands bare (BEGIN ATOMIC … END) and its inner statements count.
 */
export function statementWords(text: string): Words[] {
  const found: Words[] = [];
  let from = 0;
  while (from < text.length) {
    if (/[^\s;]/.test(text.charAt(from))) {
      found.push(wordsAt(text, from));
      from = statementEnd(text, from);
    }
    from++;
  }
  return found;
}

/** Index of the semicolon, or of the text's end. */
function statementEnd(text: string, from: number): number {
  let i = from;
  while (i < text.length) {
    const c = text.charCodeAt(i);
    if (c === 59) return i;
    if (c === 39 || c === 34) {
      const close = text.indexOf(c === 39 ? "'" : '"', i + 1);
      if (close < 0) return text.length;
      i = close;
    }
    i++;
  }
  return i;
}
