/**
 * May a text in this client_encoding be looked into byte by byte? In PostgreSQL's client-only encodings the second
 * byte of a character can be an ASCII one (a quote, a backslash), so that a lexer over bytes sees quotes which are
 * none. In all others every byte of a multibyte character is above 127. A name that is not known is not safe.
 */
const SAFE: ReadonlySet<string> = new Set(
  `utf8 unicode sqlascii eucjp euccn euckr euctw eucjis2004 muleinternal
   latin1 latin2 latin3 latin4 latin5 latin6 latin7 latin8 latin9 latin10
   iso88591 iso88592 iso88593 iso88594 iso88595 iso88596 iso88597 iso88598 iso88599 iso885910
   iso885913 iso885914 iso885915 iso885916
   koi8 koi8r koi8u win win866 win874 win1250 win1251 win1252 win1253 win1254 win1255 win1256 win1257 win1258
   windows866 windows874 windows1250 windows1251 windows1252 windows1253 windows1254 windows1255 windows1256
   windows1257 windows1258 alt abc tcvn tcvn5712 vscii`.split(/\s+/),
);

/** Name as the client or PostgreSQL gives it; case and punctuation do not matter, as in PostgreSQL. */
export function isLexable(clientEncoding: string): boolean {
  return SAFE.has(clientEncoding.toLowerCase().replace(/[^a-z0-9]/g, ''));
}
