// Which files a page becomes: `page/index.html` by itself, `page.html` with `trailingSlash: false`.
const trailingSlash = process.env.TRAILING_SLASH === 'false' ? false : undefined;

export default {
  title: 'Bird watch',
  url: 'https://localhost',
  baseUrl: '/',
  favicon: 'img/picture.png',
  trailingSlash,
  onBrokenLinks: 'throw',
  presets: [
    ['classic', { docs: { sidebarPath: './sidebars.js' }, blog: false, theme: { customCss: './src/css/custom.css' } }],
  ],
  themeConfig: {
    navbar: {
      title: 'Bird watch',
      logo: { alt: 'Colours', src: 'img/picture.png' },
      items: [{ type: 'docSidebar', sidebarId: 'notes', label: 'Notes' }],
    },
  },
};
