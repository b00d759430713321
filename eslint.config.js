import tseslint from 'typescript-eslint';

const STYLE = [
  { selector: 'TSEnumDeclaration', message: 'Use an `as const` object or a union of literals.' },
  { selector: 'ExportDefaultDeclaration', message: 'Export by name.' },
];

// Only configuration files have default exports, because their tools ask for them.
export default tseslint.config(
  { ignores: ['dist/', '.bench/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    rules: {
      eqeqeq: 'error',
      'no-console': 'error',
      'no-restricted-syntax': ['error', ...STYLE],
      'object-shorthand': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { disallowTypeAnnotations: false }],
      // node:test waits for its tests by itself.
      '@typescript-eslint/no-floating-promises': [
        'error',
        { allowForKnownSafeCalls: [{ from: 'package', package: 'node:test', name: ['describe', 'it', 'suite', 'test'] }] },
      ],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true }],
      '@typescript-eslint/no-dynamic-delete': 'off',
      // [...text] for its code points is meant.
      '@typescript-eslint/no-misused-spread': ['error', { allow: ['string'] }],
      // With noUncheckedIndexedAccess every element of a typed array that is read in a loop needs one.
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', destructuredArrayIgnorePattern: '^_' }],
      // Interfaces promise promises that some implementations keep without waiting.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // Our interfaces are made of closures, which need no `this`.
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  { files: ['bench/**', 'samples/**', 'test/**'], rules: { 'no-console': 'off' } },
  { files: ['*.config.js', 'bench/**', 'samples/**', 'test/**'], rules: { 'no-restricted-syntax': ['error', STYLE[0]] } },
  { files: ['**/*.{js,mjs}'], extends: [tseslint.configs.recommended] },
);
