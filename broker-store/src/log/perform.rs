//! Carries out what a log asks for.

use std::ops::Range;
use std::path::Path;

use super::batch::Batch;
use super::io::{Dead, Done, IoDone, IoOp, Op, Took};
use super::paging::BLOCK_BYTES;
use crate::error::StoreError;
use crate::fs::Fs;
use crate::ids::SegmentId;
use crate::map::Mapping;
use crate::segment::format::len32;
use crate::segment::index::{INDEX_HEADER, IndexBuilder, IndexView};
use crate::segment::scan;

/// Carries out one operation. The future may be dropped only together with the log.
pub async fn perform<F: Fs>(fs: &F, op: IoOp) -> IoDone {
    IoDone(match op.0 {
        Op::Append { path, batch } => append_batch(fs, &path, batch).await,
        Op::Prepare { segment, path, from, length } => {
            let recycled = from.is_some();
            Done::Prepare { segment, recycled, result: prepare(fs, &path, from, u64::from(length)).await }
        }
        Op::Seal { segment, path, builder, sync } => seal(fs, segment, &path, builder, sync).await,
        Op::Spill { segment, path, offset, bytes, length } => {
            let end = offset + len32(bytes.len());
            Done::Spill { segment, offset, end, result: spill(fs, &path, offset, bytes, length).await }
        }
        Op::PageIn { segment, path, mapping, blocks, written } => {
            let range = blocks.start * BLOCK_BYTES..blocks.end * BLOCK_BYTES;
            Done::PageIn { segment, blocks, written, result: page_in(fs, &path, mapping, range).await }
        }
        Op::PageInIndex { segment, path, data, body_of } => {
            Done::PageInIndex { segment, result: page_in_index(fs, segment, &path, &data, body_of).await }
        }
        Op::Remove { dead, sync } => Done::Remove { result: remove(fs, &dead, sync).await },
        Op::Checkpoint { path, bytes, covers } => {
            Done::Checkpoint { covers, result: replace(fs, &path, bytes).await }
        }
    })
}

/// Sorts and writes an index, sorting away from the shard's thread.
async fn seal<F: Fs>(fs: &F, segment: SegmentId, path: &Path, builder: Box<IndexBuilder>, sync: bool) -> Done {
    let ((body, header), builder) = fs.run_blocking(move || (builder.encode(), builder)).await;
    Done::Seal { segment, builder, result: write_index(fs, path, body, header, sync).await }
}

async fn append_batch<F: Fs>(fs: &F, path: &Path, mut batch: Batch) -> Done {
    let bytes = std::mem::take(&mut batch.bytes);
    let written = bytes.len();
    let mut took = Took::default();
    let result = append(fs, path, bytes, u64::from(batch.start), batch.sync, &mut took).await;
    Done::Append { batch, written, took, result }
}

async fn append<F: Fs>(
    fs: &F,
    path: &Path,
    bytes: Vec<u8>,
    offset: u64,
    sync: bool,
    took: &mut Took,
) -> Result<(), StoreError> {
    let file = fs.open(path, false).await.map_err(|source| StoreError::io("open", path, source))?;
    let began_us = fs.clock_us();
    if !bytes.is_empty() {
        fs.write_at(&file, bytes, offset).await.map_err(|source| StoreError::io("write", path, source))?;
    }
    let written_us = fs.clock_us();
    took.write_us = written_us.saturating_sub(began_us);
    if sync {
        fs.sync(&file).await.map_err(|source| StoreError::io("sync", path, source))?;
        took.sync_us = fs.clock_us().saturating_sub(written_us);
    }
    Ok(())
}

/// A recycled file needs no zeroing. Its new name is durable before anything is written to it: else a crash could
/// bring the old name back for new records.
async fn prepare<F: Fs>(fs: &F, path: &Path, from: Option<Dead>, length: u64) -> Result<(), StoreError> {
    let error = |source| StoreError::io("prepare", path, source);
    if let Some(dead) = from {
        fs.delete(&dead.index).await.map_err(error)?;
        fs.rename(&dead.data, path).await.map_err(error)?;
    } else {
        let file = fs.open(path, true).await.map_err(error)?;
        let made = match fs.allocate(&file, 0..length).await {
            Ok(()) => fs.zero(&file, length).await,
            failed => failed,
        };
        if let Err(source) = made {
            // What was reserved may be what others need; if this fails too, recovery removes the file.
            drop(fs.delete(path).await);
            return Err(error(source));
        }
    }
    sync_parent(fs, path).await
}

async fn sync_parent<F: Fs>(fs: &F, path: &Path) -> Result<(), StoreError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    fs.sync_dir(parent).await.map_err(|source| StoreError::io("sync", parent, source))
}

/// Writes an index: the header last, after a sync, so that it stands for all of it.
pub(super) async fn write_index<F: Fs>(
    fs: &F,
    path: &Path,
    body: Vec<u8>,
    header: Vec<u8>,
    sync: bool,
) -> Result<(), StoreError> {
    let error = |source| StoreError::io("write", path, source);
    let file = fs.open(path, true).await.map_err(error)?;
    fs.set_len(&file, 0).await.map_err(error)?;
    fs.write_at(&file, body, INDEX_HEADER as u64).await.map_err(error)?;
    if sync {
        fs.sync(&file).await.map_err(error)?;
    }
    fs.write_at(&file, header, 0).await.map_err(error)
}

async fn spill<F: Fs>(fs: &F, path: &Path, offset: u32, bytes: Vec<u8>, length: u32) -> Result<(), StoreError> {
    let error = |source| StoreError::io("write", path, source);
    let file = fs.open(path, true).await.map_err(error)?;
    fs.set_len(&file, u64::from(length)).await.map_err(error)?;
    let offset = u64::from(offset);
    fs.allocate(&file, offset..offset + bytes.len() as u64).await.map_err(error)?;
    fs.write_at(&file, bytes, offset).await.map_err(error)
}

async fn page_in<F: Fs>(
    fs: &F,
    path: &Path,
    mapping: Option<Mapping>,
    range: Range<usize>,
) -> Result<Mapping, StoreError> {
    let error = |source| StoreError::io("read", path, source);
    let mapping = match mapping {
        Some(mapping) => mapping,
        None => fs.map(path).await.map_err(error)?,
    };
    fs.populate(path, mapping, range).await.map_err(error)
}

/// Maps an index; one that is damaged is built again from the segment.
async fn page_in_index<F: Fs>(
    fs: &F,
    segment: SegmentId,
    path: &Path,
    data: &Path,
    body_of: fn(&[u8]) -> u32,
) -> Result<Mapping, StoreError> {
    let mapping = page_in(fs, path, None, 0..usize::MAX).await?;
    let checked = fs.run_blocking({
        let mapping = mapping.clone();
        move || IndexView::open(&mapping, segment).is_some_and(|view| view.entries_are_intact())
    });
    if checked.await {
        return Ok(mapping);
    }
    let bytes = page_in(fs, data, None, 0..usize::MAX).await?;
    let build = move || -> IndexBuilder {
        let survey = scan::survey(&bytes, segment);
        let mut builder = scan::index(&bytes, segment, &survey.pieces, body_of);
        builder.synced = survey.synced;
        builder
    };
    let (body, header) = fs.run_blocking(move || build().encode()).await;
    drop(mapping);
    fs.delete(path).await.map_err(|source| StoreError::io("delete", path, source))?;
    write_index(fs, path, body, header, true).await?;
    page_in(fs, path, None, 0..usize::MAX).await
}

/// Removes the files of a segment, durably: what older segments need of it is elsewhere only until they go too.
async fn remove<F: Fs>(fs: &F, dead: &Dead, sync: bool) -> Result<(), StoreError> {
    for path in [&dead.index, &dead.data] {
        fs.delete(path).await.map_err(|source| StoreError::io("delete", path, source))?;
    }
    if sync { sync_parent(fs, &dead.data).await } else { Ok(()) }
}

/// Replaces a small file as a whole.
async fn replace<F: Fs>(fs: &F, path: &Path, bytes: Vec<u8>) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let error = |source| StoreError::io("write", path, source);
    let file = fs.open(&new, true).await.map_err(error)?;
    fs.set_len(&file, 0).await.map_err(error)?;
    fs.write_at(&file, bytes, 0).await.map_err(error)?;
    fs.sync(&file).await.map_err(error)?;
    fs.rename(&new, path).await.map_err(error)?;
    sync_parent(fs, path).await
}
