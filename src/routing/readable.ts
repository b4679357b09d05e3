/** Statement texts travel through routing as bytes (latin1-decoded); here they become text for people again. */
const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** UTF-8 where the bytes are UTF-8, else each byte as a character. At most `maxChars` characters of the bytes. */
export function readable(bytes: string, maxChars = Number.POSITIVE_INFINITY): string {
  const cut = bytes.length > maxChars ? bytes.slice(0, maxChars) : bytes;
  const whole = Buffer.from(cut, 'latin1');
  // a cut may fall into a character: up to three bytes of it are dropped
  for (let drop = 0; drop <= (cut === bytes ? 0 : 3); drop++) {
    try {
      return UTF8.decode(whole.subarray(0, whole.length - drop));
    } catch {
      // not UTF-8 up to here
    }
  }
  return cut;
}

/** A name from the configuration or the console in the form in which texts travel. */
export function asBytes(text: string): string {
  return Buffer.from(text, 'utf8').latin1Slice();
}
