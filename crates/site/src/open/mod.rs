//! From an archive, a pack or a directory to a site: its names, where their bytes are, and how they
//! are loaded.
//!
//! | module | contents |
//! |---|---|
//! | [`site`], [`opening`] | the site itself, and how it comes to be |
//! | [`reach`] | what lies at its path, opened by this process or another |
//! | [`archive_file`], [`tar`], [`tree`] | an archive's members, and the folders that they make |
//! | [`pack`] | the index of a pack |
//! | [`directory`], [`site_file`] | a directory on disk |
//! | [`names`], [`path`], [`sidecar`] | names, and what they mean |
//! | [`index`], [`entry`] | from a name to its files |
//! | [`children`] | from a folder to what lies in it |
//! | [`survey`] | what the operator should know about the files |
//! | [`load`], [`budget`], [`streamed`], [`place`] | bodies, in memory or from their file |
//! | [`encodings`] | encodings that another process makes of a site's files |
//! | [`origin`], [`hash`] | whether two files have the same content, without and with reading it |
//! | [`live`] | what a site takes over from the one before it |
//! | [`error`], [`printable`] | errors and warnings |

pub(crate) mod archive_file;
pub(crate) mod budget;
pub(crate) mod children;
pub(crate) mod directory;
pub(crate) mod encodings;
pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod hash;
pub(crate) mod index;
pub(crate) mod live;
pub(crate) mod load;
pub(crate) mod names;
pub(crate) mod opening;
pub(crate) mod origin;
pub(crate) mod pack;
pub(crate) mod path;
pub(crate) mod place;
pub(crate) mod printable;
pub(crate) mod reach;
pub(crate) mod sidecar;
pub(crate) mod site;
pub(crate) mod site_file;
pub(crate) mod streamed;
pub(crate) mod survey;
pub(crate) mod tar;
pub(crate) mod tree;
