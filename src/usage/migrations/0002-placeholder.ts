/** Keeps the position of the step that another change brings. */
export const placeholder = `
SELECT 1;
`;
