/** `${NAME}` in the values of [clusters], [nodes] and [routes]: variables of the environment, for secrets above all. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * `text` with each `${NAME}` replaced by that variable and each `$${` by `${`. `problem` says what is wrong, without
 * telling any value: a variable that is not set or empty, or a `${` that is not `${NAME}`.
 */
export function expandEnvironment(
  text: string,
  env: Environment,
): { readonly text: string; readonly problem: string | null } {
  let problem: string | null = null;
  const expanded = text.replace(
    /\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{/g,
    (found: string, name: string | undefined) => {
      if (found === '$${') return '${';
      const value = name !== undefined && Object.hasOwn(env, name) ? env[name] : undefined;
      if (value !== undefined && value !== '') return value;
      problem ??=
        name === undefined
          ? `\${ without NAME and }`
          : `environment variable ${name} is ${value === undefined ? 'not set' : 'empty'}`;
      return '';
    },
  );
  return { text: expanded, problem };
}
