//@ compiles
use sitar_io::Conn;

pub fn elsewhere(conn: Conn) {
    std::thread::spawn(|| ());
    drop(conn);
}
