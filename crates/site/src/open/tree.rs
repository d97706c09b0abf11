//! The archive as folders: where later members replace earlier ones and links find their targets.
//!
//! Links resolve as the kernel would after unpacking, with the root as the end of the world: a
//! target that climbs out is left out, never clamped. Work is counted ([`FUEL`]) because links
//! multiply: a few hundred bytes of archive can name more paths than there are atoms.

use crate::open::error::{OpenFault, Warnings};
use crate::open::names::{NAMES_BYTES_MAX, Names};
use crate::open::pack::INDEX_NAME;
use crate::open::path::{DEPTH_MAX, NAME_MAX};
use crate::open::printable::printable;
use crate::open::tar::{Map, Member, MemberKind, Members, Stored};
use crate::rules::{HEADERS, REDIRECTS};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Folders, files and links by name.
pub(crate) struct Tree {
    nodes: Vec<Node>,
    names_bytes: usize,
    maps: Maps,
    /// A member has the name of a pack's index.
    has_index: bool,
}

/// Paths to files, and where the bytes of each lie.
pub(crate) type Listing = (Names, Vec<Stored>);

/// The maps of sparse files, by their [`Stored::offset`].
pub(crate) type Maps = HashMap<u64, Arc<Map>>;

/// The places of the bytes of `_headers` and `_redirects`, in this order.
pub(crate) type RuleFiles = [Option<Stored>; 2];

type NodeId = u32;

struct Node {
    parent: NodeId,
    kind: NodeKind,
}

enum NodeKind {
    Directory(BTreeMap<Box<[u8]>, NodeId>),
    File(Stored),
    Symlink(Box<[u8]>),
}

impl Tree {
    pub(crate) fn new() -> Tree {
        Tree {
            nodes: vec![Node { parent: ROOT, kind: NodeKind::Directory(BTreeMap::new()) }],
            names_bytes: 0,
            maps: Maps::new(),
            has_index: false,
        }
    }

    pub(crate) fn has_index(&self) -> bool {
        self.has_index
    }

    /// Returns what a hard link shares: the same file, or the same link (link(2) does not follow).
    fn linked(&self, target: &[u8]) -> Option<NodeKind> {
        let key = crate::open::path::normalize(target).ok()??;
        let mut at = ROOT;
        for segment in key.split(|&byte| byte == b'/') {
            at = self.child(at, segment)?;
        }
        match &self.nodes.get(at as usize)?.kind {
            NodeKind::File(stored) => Some(NodeKind::File(*stored)),
            NodeKind::Symlink(target) => Some(NodeKind::Symlink(target.clone())),
            NodeKind::Directory(_) => None,
        }
    }

    fn insert(&mut self, key: &[u8], kind: NodeKind, warnings: &mut Warnings) -> Result<(), OpenFault> {
        let mut at = ROOT;
        let mut segments = key.split(|&byte| byte == b'/').peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            let next = match self.child(at, segment) {
                Some(next) => next,
                None => self.grow(at, segment)?,
            };
            let node = &mut self.nodes[next as usize].kind;
            if !last {
                if !matches!(node, NodeKind::Directory(_)) {
                    warnings.left_out(key_up_to(key, segment), "a later member needs a folder of that name");
                    *node = NodeKind::Directory(BTreeMap::new());
                }
                at = next;
                continue;
            }
            return match (&*node, kind) {
                // Naming a folder again, for its times and modes, does not empty it.
                (NodeKind::Directory(_), NodeKind::Directory(_)) => Ok(()),
                (NodeKind::Directory(children), kind) => {
                    if !children.is_empty() {
                        warnings.left_out(key, "this folder is replaced by a later member that is none");
                    }
                    *node = kind;
                    Ok(())
                }
                (_, kind) => {
                    *node = kind;
                    Ok(())
                }
            };
        }
        Ok(())
    }

    fn grow(&mut self, parent: NodeId, name: &[u8]) -> Result<NodeId, OpenFault> {
        let id = self.nodes.len();
        self.names_bytes += name.len();
        if id >= NODES_MAX {
            return Err(OpenFault::TooMany { what: "files and folders", limit: NODES_MAX as u64 });
        }
        if self.names_bytes > NAMES_BYTES_MAX {
            return Err(OpenFault::TooMany { what: "bytes of names", limit: NAMES_BYTES_MAX as u64 });
        }
        // Below NODES_MAX, so it fits.
        let child = id as NodeId;
        if let Some(Node { kind: NodeKind::Directory(children), .. }) = self.nodes.get_mut(parent as usize) {
            children.insert(name.into(), child);
        }
        self.nodes.push(Node { parent, kind: NodeKind::Directory(BTreeMap::new()) });
        Ok(child)
    }

    fn child(&self, at: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.nodes.get(at as usize)?.kind {
            NodeKind::Directory(children) => children.get(name).copied(),
            _ => None,
        }
    }

    /// The maps of the sparse files that were added.
    pub(crate) fn into_maps(self) -> Maps {
        self.maps
    }

    /// Every path to a file below `prefix`, relative to it, links included; and the files with
    /// rules there.
    pub(crate) fn files(
        &self,
        prefix: Option<&str>,
        warnings: &mut Warnings,
    ) -> Result<(Listing, RuleFiles), OpenFault> {
        let mut walk = TreeWalk { tree: self, root: ROOT, fuel: FUEL, found: Listing::default(), warnings };
        if let Some(prefix) = prefix {
            let target = walk.follow(ROOT, prefix.trim_start_matches('/').as_bytes())?;
            walk.root = match target.map(|id| (id, &self.nodes[id as usize].kind)) {
                Ok((id, NodeKind::Directory(_))) => id,
                _ => {
                    return Err(OpenFault::NoSuchPrefix {
                        prefix: prefix.to_owned(),
                        folders: self.folders(),
                    });
                }
            };
        }
        walk.directory(walk.root, &mut Vec::new(), &mut Vec::new())?;
        let mut rules = [None; 2];
        for (place, name) in rules.iter_mut().zip([HEADERS, REDIRECTS]) {
            let found = walk.follow(walk.root, name.as_bytes())?;
            *place = match found.map(|id| &self.nodes[id as usize].kind) {
                Ok(NodeKind::File(stored)) => Some(*stored),
                _ => None,
            };
        }
        Ok((walk.found, rules))
    }

    /// Some names for the message about a prefix that does not exist.
    fn folders(&self) -> Vec<String> {
        let NodeKind::Directory(children) = &self.nodes[ROOT as usize].kind else { return Vec::new() };
        let is_folder = |id: &NodeId| matches!(self.nodes[*id as usize].kind, NodeKind::Directory(_));
        children.iter().filter(|(_, id)| is_folder(id)).take(8).map(|(name, _)| printable(name)).collect()
    }
}

impl Members for Tree {
    /// One of the same name is replaced.
    fn add(&mut self, member: Member, warnings: &mut Warnings) -> Result<(), OpenFault> {
        self.has_index |= member.name == INDEX_NAME;
        let key = match crate::open::path::normalize(&member.name) {
            Ok(Some(key)) => key,
            Ok(None) => return Ok(()),
            Err(why) => {
                warnings.left_out(&member.name, why);
                return Ok(());
            }
        };
        let kind = match member.kind {
            MemberKind::Directory => NodeKind::Directory(BTreeMap::new()),
            MemberKind::File(stored) => NodeKind::File(stored),
            MemberKind::Sparse(stored, map) => {
                self.maps.insert(stored.offset, Arc::new(map));
                NodeKind::File(stored)
            }
            MemberKind::Symlink(target) if target.len() > NAME_MAX => {
                warnings.left_out(&member.name, "its link's target is longer than 4096 bytes");
                return Ok(());
            }
            MemberKind::Symlink(target) => NodeKind::Symlink(target.into_boxed_slice()),
            MemberKind::HardLink(target) => match self.linked(&target) {
                Some(kind) => kind,
                None => {
                    warnings.left_out(
                        &member.name,
                        "it is a hard link to something that is not in the archive before it",
                    );
                    return Ok(());
                }
            },
            MemberKind::Other(why) => {
                warnings.left_out(&member.name, why);
                return Ok(());
            }
        };
        self.insert(&key, kind, warnings)
    }

    fn file(&self, name: &[u8]) -> Option<(Stored, Option<&Map>)> {
        match self.linked(name)? {
            NodeKind::File(stored) => Some((stored, self.maps.get(&stored.offset).map(|map| &**map))),
            _ => None,
        }
    }
}

struct TreeWalk<'t> {
    tree: &'t Tree,
    root: NodeId,
    fuel: u64,
    found: Listing,
    warnings: &'t mut Warnings,
}

/// The reason why a link leads nowhere.
type LinkFault = &'static str;

impl TreeWalk<'_> {
    /// Depth is bounded by the length of `active`, time by the fuel.
    fn directory(
        &mut self,
        id: NodeId,
        path: &mut Vec<u8>,
        active: &mut Vec<NodeId>,
    ) -> Result<(), OpenFault> {
        let tree = self.tree;
        let NodeKind::Directory(children) = &tree.nodes[id as usize].kind else { return Ok(()) };
        active.push(id);
        let length = path.len();
        for (name, &child) in children {
            self.burn(1)?;
            path.truncate(length);
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            // Not by this name; a link with a public one may still lead here.
            if !crate::open::path::is_public(path) {
                continue;
            }
            if path.len() > NAME_MAX {
                self.warnings.left_out(path, "its name is longer than 4096 bytes");
                continue;
            }
            let mut target = child;
            if let NodeKind::Symlink(link) = &tree.nodes[child as usize].kind {
                match self.follow(id, link)? {
                    Ok(found) => target = found,
                    Err(why) => {
                        self.warnings.left_out(path, why);
                        continue;
                    }
                }
            }
            match &tree.nodes[target as usize].kind {
                NodeKind::File(stored) => self.found(path, *stored)?,
                NodeKind::Directory(_) => {
                    self.burn(active.len() as u64)?;
                    if active.contains(&target) {
                        self.warnings.left_out(path, "it is a link to a folder that contains it");
                    } else if active.len() >= DEPTH_MAX {
                        self.warnings.left_out(path, "it lies more than 256 folders deep");
                    } else {
                        self.directory(target, path, active)?;
                    }
                }
                // `follow` ends at no link.
                NodeKind::Symlink(_) => {}
            }
        }
        path.truncate(length);
        active.pop();
        Ok(())
    }

    fn found(&mut self, path: &[u8], stored: Stored) -> Result<(), OpenFault> {
        let (names, bodies) = &mut self.found;
        names.push(path)?;
        bodies.push(stored);
        Ok(())
    }

    /// Follows `target` from the folder `from`, through any links on the way.
    fn follow(&mut self, from: NodeId, target: &[u8]) -> Result<Result<NodeId, LinkFault>, OpenFault> {
        let tree = self.tree;
        if target.first() == Some(&b'/') {
            return Ok(Err("it is a link that leads out of the site"));
        }
        let mut at = from;
        let mut hops = 0;
        // Paths still to walk, the innermost link's last.
        let mut pending: Vec<std::slice::Split<'_, u8, _>> = Vec::new();
        let is_slash: fn(&u8) -> bool = |&byte| byte == b'/';
        pending.push(target.split(is_slash));
        while let Some(path) = pending.last_mut() {
            let Some(segment) = path.next() else {
                pending.pop();
                continue;
            };
            self.burn(1)?;
            match segment {
                b"" | b"." => {}
                b".." if at == self.root => return Ok(Err("it is a link that leads out of the site")),
                b".." => at = tree.nodes[at as usize].parent,
                name => {
                    let Some(child) = tree.child(at, name) else {
                        return Ok(Err("it is a link to something that is not there"));
                    };
                    if let NodeKind::Symlink(link) = &tree.nodes[child as usize].kind {
                        hops += 1;
                        if hops > HOPS_MAX {
                            return Ok(Err("it is a link that leads to itself"));
                        }
                        if link.first() == Some(&b'/') {
                            return Ok(Err("it is a link that leads out of the site"));
                        }
                        pending.push(link.split(is_slash));
                    } else {
                        at = child;
                    }
                }
            }
        }
        Ok(Ok(at))
    }

    fn burn(&mut self, steps: u64) -> Result<(), OpenFault> {
        match self.fuel.checked_sub(steps) {
            Some(left) => {
                self.fuel = left;
                Ok(())
            }
            None => Err(OpenFault::TooMany { what: "steps through links between folders", limit: FUEL }),
        }
    }
}

/// The part of `key` that ends with `segment`, which is a slice of it.
fn key_up_to<'k>(key: &'k [u8], segment: &[u8]) -> &'k [u8] {
    let mut end = 0;
    for candidate in key.split(|&byte| byte == b'/') {
        end += candidate.len();
        if std::ptr::eq(candidate, segment) {
            break;
        }
        end += 1;
    }
    &key[..end.min(key.len())]
}

const ROOT: NodeId = 0;
/// Files, folders and links in one archive.
const NODES_MAX: usize = 2 << 20;
/// Links in a row, as the kernel counts them.
const HOPS_MAX: u32 = 40;
/// Steps in all: many times what the largest honest site needs, a second or so of work.
const FUEL: u64 = 64 << 20;

#[cfg(test)]
mod tests;
