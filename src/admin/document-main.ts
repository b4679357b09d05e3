/** Writes docs/console.md: `node dist/src/admin/document-main.js [file]`, from the root of the repository. */
import { writeFileSync } from 'node:fs';
import { consoleDocument } from './document.ts';

writeFileSync(process.argv[2] ?? 'docs/console.md', consoleDocument());
