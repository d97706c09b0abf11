export const words = 'A module that came later';
