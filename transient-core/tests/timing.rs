//! temporary
use std::fs::File;
use std::os::unix::fs::FileExt;
use transient_core::{CancelToken, image::header::Header};
#[test]
fn timing() {
    for (bits, ext, entries) in
        [(12_u32, false, 4_194_304_u64), (14, true, 4_194_304), (21, false, 128), (16, false, 131072)]
    {
        let dir = tempfile::tempdir_in("/work/hostile/target").unwrap();
        let path = dir.path().join("x");
        let file = File::create_new(&path).unwrap();
        let cluster = 1_u64 << bits;
        let mut h = vec![0_u8; 112];
        h[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        h[20..24].copy_from_slice(&bits.to_be_bytes());
        let per = cluster / if ext { 16 } else { 8 };
        let size = (entries * per * cluster).min(64 << 40);
        h[24..32].copy_from_slice(&size.to_be_bytes());
        h[36..40].copy_from_slice(&(entries as u32).to_be_bytes());
        let l1 = cluster * 2;
        h[40..48].copy_from_slice(&l1.to_be_bytes());
        h[48..56].copy_from_slice(&cluster.to_be_bytes());
        h[59] = 1;
        if ext {
            h[79] = 16;
        }
        h[99] = 4;
        h[103] = 104;
        file.write_all_at(&h, 0).unwrap();
        let first = (l1 + entries * 8).next_multiple_of(cluster);
        let table: Vec<u8> = (0..entries).flat_map(|i| (first + i * cluster).to_be_bytes()).collect();
        file.write_all_at(&table, l1).unwrap();
        file.set_len(first + entries * cluster).unwrap();
        let begin = std::time::Instant::now();
        let header = Header::inspect(&File::open(&path).unwrap(), &CancelToken::new()).unwrap();
        eprintln!(
            "bits {bits}: size {size:#x} file {:#x}: {:?} {:?}",
            first + entries * cluster,
            header.refusal(),
            begin.elapsed()
        );
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        eprintln!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap());
    }
}
