//! The objects between a node's ENTRY and its content.

use std::io::Read;

use super::metadata::{AclEntry, DefaultAcl, Metadata, Xattr};
use super::object::Object;
use super::objects::{Header, Objects, ended_text, require, unexpected};
use super::{CatarError, FILE_NAME_BYTES_MAX};
use crate::format::casync::flags::Flags;

/// Bytes of all attributes of one node, names included: Linux lists at most 64 KiB of names; values
/// beyond this are no file's.
const XATTR_BYTES_MAX: usize = 4 << 20;

/// `none` for the mask of a default access list.
const NO_MASK: u64 = u64::MAX;

/// Reads one property into the metadata of its node.
pub(super) fn property(
    objects: &mut Objects<impl Read>,
    header: Header,
    flags: Flags,
    metadata: &mut Metadata,
) -> Result<(), CatarError> {
    let (at, object) = (header.at, header.object.name());
    let needs = match header.object {
        Object::User | Object::Group => Flags::USER_NAMES,
        Object::Xattr => Flags::XATTRS,
        Object::Selinux => Flags::SELINUX,
        Object::Fcaps => Flags::FCAPS,
        Object::QuotaProjid => Flags::QUOTA_PROJID,
        _ => Flags::ACL,
    };
    require(flags, needs, header)?;
    let value = |field, value| CatarError::Value { at, object, field, value };
    match header.object {
        Object::User => metadata.user = Some(objects.text(header)?),
        Object::Group => metadata.group = Some(objects.text(header)?),
        Object::Selinux => metadata.selinux = Some(objects.text(header)?),
        Object::Fcaps => metadata.fcaps = Some(objects.body(header)?),
        Object::Xattr => xattr(objects, header, metadata)?,
        Object::QuotaProjid => {
            let [project] = objects.numbers(header)?;
            let known = u32::try_from(project).ok().filter(|&project| project != 0);
            metadata.quota_projid = Some(known.ok_or_else(|| value("project", project))?);
        }
        Object::AclGroupObj => {
            let [bits] = objects.numbers(header)?;
            metadata.acl.group_obj = Some(permissions(header, bits)?);
        }
        Object::AclDefault => metadata.default_acl = Some(default_acl(objects, header)?),
        _ => acl_entry(objects, header, flags, metadata)?,
    }
    Ok(())
}

fn xattr(
    objects: &mut Objects<impl Read>,
    header: Header,
    metadata: &mut Metadata,
) -> Result<(), CatarError> {
    let (at, object) = (header.at, header.object.name());
    let body = objects.body(header)?;
    let mut parts = body.splitn(2, |&byte| byte == 0);
    let (Some(name), Some(content)) = (parts.next(), parts.next()) else {
        return Err(CatarError::Text { at, object });
    };
    if name.is_empty() || name.len() > FILE_NAME_BYTES_MAX {
        return Err(CatarError::Text { at, object });
    }
    if metadata.xattrs.last().is_some_and(|last| last.name.as_slice() >= name) {
        return Err(CatarError::NotSorted { at, object });
    }
    let before: usize = metadata.xattrs.iter().map(|x| x.name.len() + x.value.len()).sum();
    if before + body.len() > XATTR_BYTES_MAX {
        return Err(CatarError::TooMany { at, object });
    }
    metadata.xattrs.push(Xattr { name: name.to_vec(), value: content.to_vec() });
    Ok(())
}

fn default_acl(objects: &mut Objects<impl Read>, header: Header) -> Result<DefaultAcl, CatarError> {
    let [user, group, other, mask] = objects.numbers(header)?;
    let mask = (mask != NO_MASK).then_some(mask);
    Ok(DefaultAcl {
        user_obj: permissions(header, user)?,
        group_obj: permissions(header, group)?,
        other: permissions(header, other)?,
        mask: mask.map(|mask| permissions(header, mask)).transpose()?,
        users: Vec::new(),
        groups: Vec::new(),
    })
}

fn acl_entry(
    objects: &mut Objects<impl Read>,
    header: Header,
    flags: Flags,
    metadata: &mut Metadata,
) -> Result<(), CatarError> {
    let (at, object) = (header.at, header.object.name());
    let body = objects.body(header)?;
    let (numbers, _) = body.as_chunks::<8>();
    let (Some(&[id, bits]), rest) = (numbers.first_chunk::<2>(), body.get(16..)) else {
        return Err(CatarError::Text { at, object });
    };
    let number = u64::from_le_bytes(id);
    let id = u32::try_from(number).ok().filter(|&id| id != u32::MAX);
    let field = "id";
    let id = id.ok_or(CatarError::Value { at, object, field, value: number })?;
    let permissions = permissions(header, u64::from_le_bytes(bits))?;
    let name = match rest.unwrap_or_default() {
        [] => None,
        text => {
            require(flags, Flags::USER_NAMES, header)?;
            Some(ended_text(text).ok_or(CatarError::Text { at, object })?)
        }
    };
    let orphan = || unexpected(header, "ACL_DEFAULT");
    let list = match header.object {
        Object::AclUser => &mut metadata.acl.users,
        Object::AclGroup => &mut metadata.acl.groups,
        Object::AclDefaultUser => &mut metadata.default_acl.as_mut().ok_or_else(orphan)?.users,
        _ => &mut metadata.default_acl.as_mut().ok_or_else(orphan)?.groups,
    };
    let entry = AclEntry { id, name, permissions };
    if list.last().is_some_and(|last| *last >= entry) {
        return Err(CatarError::NotSorted { at, object });
    }
    list.push(entry);
    Ok(())
}

/// Read, write and execute.
fn permissions(header: Header, bits: u64) -> Result<u8, CatarError> {
    u8::try_from(bits).ok().filter(|bits| *bits <= 7).ok_or(CatarError::Value {
        at: header.at,
        object: header.object.name(),
        field: "permissions",
        value: bits,
    })
}
