"""The names of well-known folders: Outlook's and Exchange's by language, and those of other clients. Data only.

Where a name is not known with confidence it is left out: an unknown name makes an ordinary folder, a wrong one could
keep messages away. RSS Feeds and Conversation History are carried either way, so their lists may have gaps.
Checked against public lists of Exchange's folder names (docs/folders.md says which).

Invariant: `|` parts alternatives; no name stands for two uses (a test holds this).
"""

from __future__ import annotations

from collections.abc import Mapping

from mailferry.model.folder import SpecialUse

Names = Mapping[SpecialUse, tuple[str, ...]]


def _names(
    *,
    sent: str,
    drafts: str,
    deleted: str,
    junk: str,
    outbox: str,
    calendar: str,
    contacts: str,
    tasks: str,
    notes: str,
    journal: str,
    sync: str,
    conflicts: str,
    local: str,
    server: str,
    archive: str = "",
    rss: str = "",
    history: str = "",
) -> Names:
    texts = {
        SpecialUse.SENT: sent,
        SpecialUse.DRAFTS: drafts,
        SpecialUse.TRASH: deleted,
        SpecialUse.JUNK: junk,
        SpecialUse.OUTBOX: outbox,
        SpecialUse.ARCHIVE: archive,
        SpecialUse.CALENDAR: calendar,
        SpecialUse.CONTACTS: contacts,
        SpecialUse.TASKS: tasks,
        SpecialUse.NOTES: notes,
        SpecialUse.JOURNAL: journal,
        SpecialUse.SYNC_ISSUES: sync,
        SpecialUse.CONFLICTS: conflicts,
        SpecialUse.LOCAL_FAILURES: local,
        SpecialUse.SERVER_FAILURES: server,
        SpecialUse.RSS: rss,
        SpecialUse.CONVERSATION_HISTORY: history,
    }
    return {use: tuple(text.split("|")) for use, text in texts.items() if text}


# fmt: off
OUTLOOK: Mapping[str, Names] = {
    "en": _names(
        sent="Sent Items", drafts="Drafts", deleted="Deleted Items", junk="Junk Email|Junk E-mail|Junk E-Mail",
        outbox="Outbox", archive="Archive", calendar="Calendar", contacts="Contacts", tasks="Tasks", notes="Notes",
        journal="Journal", sync="Sync Issues", conflicts="Conflicts", local="Local Failures",
        server="Server Failures", rss="RSS Feeds|RSS Subscriptions", history="Conversation History",
    ),
    "de": _names(
        sent="Gesendete Elemente|Gesendete Objekte", drafts="Entwürfe",
        deleted="Gelöschte Elemente|Gelöschte Objekte", junk="Junk-E-Mail|Junk E-Mail", outbox="Postausgang",
        archive="Archiv", calendar="Kalender", contacts="Kontakte", tasks="Aufgaben", notes="Notizen",
        journal="Journal", sync="Synchronisierungsprobleme", conflicts="Konflikte", local="Lokale Fehler",
        server="Serverfehler", rss="RSS-Feeds|RSS-Abonnements",
        history="Verlauf der Unterhaltung|Unterhaltungsverlauf|Aufgezeichnete Unterhaltungen",
    ),
    "fr": _names(
        sent="Éléments envoyés", drafts="Brouillons", deleted="Éléments supprimés",
        junk="Courrier indésirable|Courriers indésirables", outbox="Boîte d'envoi|Boîte d’envoi", archive="Archive",
        calendar="Calendrier", contacts="Contacts", tasks="Tâches", notes="Notes", journal="Journal",
        sync="Problèmes de synchronisation", conflicts="Conflits", local="Échecs locaux|Défaillances locales",
        server="Échecs du serveur|Échecs serveur|Défaillances du serveur", rss="Flux RSS",
        history="Historique des conversations",
    ),
    "es": _names(
        sent="Elementos enviados", drafts="Borradores|Borrador", deleted="Elementos eliminados",
        junk="Correo no deseado|Correo electrónico no deseado", outbox="Bandeja de salida",
        archive="Archivar|Archivo", calendar="Calendario", contacts="Contactos", tasks="Tareas", notes="Notas",
        journal="Diario", sync="Problemas de sincronización", conflicts="Conflictos",
        local="Error local|Errores locales", server="Errores del servidor|Error del servidor", rss="Fuentes RSS",
        history="Historial de conversaciones",
    ),
    "it": _names(
        sent="Posta inviata", drafts="Bozze", deleted="Posta eliminata", junk="Posta indesiderata",
        outbox="Posta in uscita", archive="Archivio", calendar="Calendario", contacts="Contatti", tasks="Attività",
        notes="Note", journal="Diario|Journal", sync="Problemi di sincronizzazione", conflicts="Conflitti",
        local="Errori in locale|Errori locali", server="Errori del server|Errori server", rss="Feed RSS",
        history="Cronologia conversazione|Cronologia conversazioni",
    ),
    "pt-PT": _names(
        sent="Itens Enviados", drafts="Rascunhos", deleted="Itens Eliminados",
        junk="E-mail de Lixo|Correio Eletrónico de Lixo|Correio Electrónico de Lixo",
        outbox="A Enviar|Caixa de Saída", archive="Arquivo", calendar="Calendário", contacts="Contactos",
        tasks="Tarefas", notes="Notas", journal="Diário", sync="Problemas de Sincronização", conflicts="Conflitos",
        local="Falhas Locais", server="Falhas do Servidor", rss="Feeds RSS", history="Histórico de Conversações",
    ),
    "pt-BR": _names(
        sent="Itens Enviados", drafts="Rascunhos", deleted="Itens Excluídos", junk="Lixo Eletrônico|Lixo Eletrónico",
        outbox="Caixa de Saída", archive="Arquivo Morto|Arquivo", calendar="Calendário", contacts="Contatos",
        tasks="Tarefas", notes="Anotações", journal="Diário|Journal", sync="Problemas de Sincronização",
        conflicts="Conflitos", local="Falhas Locais", server="Falhas do Servidor", rss="RSS Feeds",
        history="Histórico de Conversa|Histórico de Conversas",
    ),
    "nl": _names(
        sent="Verzonden items", drafts="Concepten", deleted="Verwijderde items", junk="Ongewenste e-mail",
        outbox="Postvak UIT", archive="Archief", calendar="Agenda", contacts="Contactpersonen|Contacten",
        tasks="Taken", notes="Notities", journal="Logboek", sync="Synchronisatieproblemen", conflicts="Conflicten",
        local="Lokale fouten", server="Serverfouten", rss="RSS-feeds", history="Gespreksgeschiedenis",
    ),
    "sv": _names(
        sent="Skickat|Skickade objekt", drafts="Utkast", deleted="Borttaget|Borttagna objekt", junk="Skräppost",
        outbox="Utkorgen|Utkorg", archive="Arkiv", calendar="Kalender", contacts="Kontakter", tasks="Uppgifter",
        notes="Anteckningar", journal="Journal", sync="Synkroniseringsproblem", conflicts="Konflikter",
        local="Lokala fel", server="Serverfel", rss="RSS-feeds", history="Konversationshistorik",
    ),
    "da": _names(
        sent="Sendt post|Sendte elementer", drafts="Kladder", deleted="Slettet post|Slettede elementer",
        junk="Uønsket mail|Uønsket e-mail|Uønsket post", outbox="Udbakke", archive="Arkiv|Arkiver",
        calendar="Kalender", contacts="Kontaktpersoner|Kontakter", tasks="Opgaver", notes="Noter", journal="Journal",
        sync="Synkroniseringsproblemer", conflicts="Konflikter", local="Lokale fejl", server="Serverfejl",
        rss="RSS-feeds", history="Samtalehistorik|Samtaleoversigt",
    ),
    "nb": _names(
        sent="Sendte elementer", drafts="Kladd|Utkast", deleted="Slettede elementer",
        junk="Søppelpost|Uønsket e-post", outbox="Utboks", archive="Arkiv", calendar="Kalender",
        contacts="Kontakter", tasks="Oppgaver", notes="Notater", journal="Journal", sync="Synkroniseringsproblemer",
        conflicts="Konflikter", local="Lokale feil", server="Serverfeil", rss="RSS-feeder", history="Samtalelogg",
    ),
    "fi": _names(
        sent="Lähetetyt|Lähetetyt viestit", drafts="Luonnokset", deleted="Poistetut|Poistetut viestit",
        junk="Roskaposti", outbox="Lähtevät", archive="Arkisto", calendar="Kalenteri", contacts="Yhteystiedot",
        tasks="Tehtävät", notes="Huomautukset|Muistilaput", journal="Loki|Päiväkirja", sync="Synkronointiongelmat",
        conflicts="Ristiriidat", local="Paikalliset virheet", server="Palvelinvirheet", rss="RSS-syötteet",
        history="Keskusteluhistoria",
    ),
    "is": _names(
        sent="Sendur póstur", drafts="Drög", deleted="Eydd atriði", junk="Ruslpóstur", outbox="Úthólf",
        calendar="Dagbók", contacts="Tengiliðir", tasks="Verk", notes="Athugasemdir", journal="Færslubók",
        sync="Samstillingarvandamál", conflicts="Árekstrar", local="Staðbundnar villur", server="Þjónsvillur",
    ),
    "pl": _names(
        sent="Elementy wysłane", drafts="Wersje robocze|Kopie robocze", deleted="Elementy usunięte",
        junk="Wiadomości-śmieci", outbox="Skrzynka nadawcza", archive="Archiwum", calendar="Kalendarz",
        contacts="Kontakty", tasks="Zadania", notes="Notatki", journal="Dziennik", sync="Problemy z synchronizacją",
        conflicts="Konflikty", local="Lokalne awarie|Błędy lokalne", server="Awarie serwera|Błędy serwera",
        rss="Źródła danych RSS|Kanały informacyjne RSS|Źródła RSS", history="Historia konwersacji",
    ),
    "cs": _names(
        sent="Odeslaná pošta", drafts="Koncepty", deleted="Odstraněná pošta", junk="Nevyžádaná pošta",
        outbox="Pošta k odeslání|Odchozí pošta", archive="Archiv", calendar="Kalendář", contacts="Kontakty",
        tasks="Úkoly|Úlohy", notes="Poznámky", journal="Deník",
        sync="Problémy se synchronizací|Potíže se synchronizací", conflicts="Konflikty",
        local="Místní selhání|Místní chyby", server="Selhání serveru|Chyby serveru", rss="Informační kanály RSS",
        history="Historie konverzací",
    ),
    "sk": _names(
        sent="Odoslaná pošta|Odoslané položky", drafts="Koncepty", deleted="Odstránené položky|Odstránená pošta",
        junk="Nevyžiadaná pošta|Nevyžiadaná e-mailová pošta", outbox="Pošta na odoslanie", archive="Archív",
        calendar="Kalendár", contacts="Kontakty", tasks="Úlohy", notes="Poznámky", journal="Denník",
        sync="Chyby synchronizácie|Problémy so synchronizáciou", conflicts="Konflikty", local="Lokálne zlyhania",
        server="Zlyhania servera", rss="Informačné kanály RSS", history="História konverzácií",
    ),
    "hu": _names(
        sent="Elküldött elemek", drafts="Piszkozatok", deleted="Törölt elemek", junk="Levélszemét",
        outbox="Postázandó üzenetek|Kimenő levelek", archive="Archívum", calendar="Naptár",
        contacts="Névjegyek|Névjegyalbum", tasks="Feladatok", notes="Feljegyzések", journal="Napló",
        sync="Szinkronizálási hibák|Szinkronizációs problémák", conflicts="Ütközések", local="Helyi hibák",
        server="Kiszolgálóhibák", rss="RSS-hírcsatornák|RSS-csatornák",
        history="Beszélgetések előzményei|Beszélgetési előzmények",
    ),
    "ro": _names(
        sent="Elemente trimise", drafts="Schițe|Schiţe|Ciorne", deleted="Elemente șterse|Elemente şterse",
        junk="E-mail nedorit|Mesaje nedorite", outbox="Outbox|Ieșire|Ieşire", archive="Arhivă", calendar="Calendar",
        contacts="Contacte|Persoane de contact", tasks="Activități|Activităţi|Sarcini", notes="Note",
        journal="Jurnal", sync="Probleme de sincronizare", conflicts="Conflicte",
        local="Defecțiuni locale|Defecţiuni locale", server="Defecțiuni server|Defecţiuni server", rss="Fluxuri RSS",
        history="Istoric conversații|Istoric conversaţii",
    ),
    "bg": _names(
        sent="Изпратени|Изпратени елементи", drafts="Чернови", deleted="Изтрити|Изтрити елементи",
        junk="Нежелана поща|Нежелана електронна поща", outbox="Изходящи|Изходяща поща", archive="Архив",
        calendar="Календар", contacts="Контакти", tasks="Задачи", notes="Бележки", journal="Дневник",
        sync="Проблеми при синхронизиране", conflicts="Конфликти", local="Локални грешки", server="Грешки в сървър",
    ),
    "ru": _names(
        sent="Отправленные", drafts="Черновики", deleted="Удаленные|Удалённые", junk="Нежелательная почта",
        outbox="Исходящие", archive="Архив", calendar="Календарь", contacts="Контакты", tasks="Задачи",
        notes="Заметки", journal="Дневник|Журнал", sync="Ошибки синхронизации|Проблемы синхронизации",
        conflicts="Конфликты", local="Локальные ошибки", server="Ошибки сервера", rss="RSS-каналы|RSS-ленты",
        history="Журнал бесед|История бесед",
    ),
    "uk": _names(
        sent="Надіслані", drafts="Чернетки", deleted="Видалені", junk="Небажана пошта", outbox="Вихідні",
        archive="Архів", calendar="Календар", contacts="Контакти", tasks="Завдання", notes="Нотатки",
        journal="Щоденник|Журнал", sync="Помилки синхронізації", conflicts="Конфлікти", local="Локальні помилки",
        server="Помилки сервера", rss="RSS-канали", history="Журнал розмов",
    ),
    "el": _names(
        sent="Απεσταλμένα|Σταλθέντα", drafts="Πρόχειρα", deleted="Διαγραμμένα",
        junk="Ανεπιθύμητα|Ανεπιθύμητη αλληλογραφία|Ανεπιθύμητα email", outbox="Εξερχόμενα", archive="Αρχειοθήκη",
        calendar="Ημερολόγιο", contacts="Επαφές", tasks="Εργασίες", notes="Σημειώσεις", journal="Χρονικό",
        sync="Θέματα συγχρονισμού|Ζητήματα συγχρονισμού", conflicts="Διενέξεις", local="Τοπικές αποτυχίες",
        server="Αποτυχίες server|Αποτυχίες διακομιστή", rss="Τροφοδοσίες RSS", history="Ιστορικό συνομιλιών",
    ),
    "tr": _names(
        sent="Gönderilmiş Öğeler", drafts="Taslaklar", deleted="Silinmiş Öğeler",
        junk="Gereksiz E-posta|Önemsiz E-posta", outbox="Giden Kutusu", archive="Arşiv", calendar="Takvim",
        contacts="Kişiler", tasks="Görevler", notes="Notlar", journal="Günlük", sync="Eşitleme Sorunları",
        conflicts="Çakışmalar", local="Yerel Hatalar", server="Sunucu Hataları", rss="RSS Akışları",
        history="Konuşma Geçmişi",
    ),
    "he": _names(
        sent="פריטים שנשלחו", drafts="טיוטות", deleted="פריטים שנמחקו", junk="דואר זבל",
        outbox="תיבת דואר יוצא|דואר יוצא", archive="ארכיון", calendar="לוח שנה", contacts="אנשי קשר", tasks="משימות",
        notes="הערות|פתקים", journal="יומן", sync="בעיות סינכרון", conflicts="התנגשויות", local="כשלים מקומיים",
        server="כשלים בשרת", history="היסטוריית שיחות",
    ),
    "ar": _names(
        sent="العناصر المرسلة", drafts="المسودات", deleted="العناصر المحذوفة",
        junk="البريد الإلكتروني غير الهام|بريد إلكتروني غير هام", outbox="علبة الصادر|صندوق الصادر",
        archive="الأرشيف|أرشيف", calendar="التقويم", contacts="جهات الاتصال", tasks="المهام", notes="الملاحظات",
        journal="دفتر اليومية|دفتر يومية", sync="مشاكل في المزامنة|مشاكل المزامنة", conflicts="التعارضات",
        local="حالات فشل عامة|حالات الفشل المحلية", server="حالات فشل الخادم", history="محفوظات المحادثات",
    ),
    "fa": _names(
        sent="موارد ارسال شده", drafts="پیش نویس ها|پیش‌نویس‌ها", deleted="موارد حذف شده", junk="ایمیل ناخواسته",
        outbox="صندوق ارسال", calendar="تقویم", contacts="مخاطبین", tasks="کارها", notes="یادداشت ها",
        journal="روزنامه نویسی", sync="مشکلات همگام سازی", conflicts="تداخل", local="خطاهای محلی",
        server="خطاهای سرور",
    ),
    "ja": _names(
        sent="送信済みアイテム", drafts="下書き", deleted="削除済みアイテム", junk="迷惑メール", outbox="送信トレイ",
        archive="アーカイブ", calendar="予定表|カレンダー", contacts="連絡先", tasks="タスク|仕事", notes="メモ",
        journal="ジャーナル|履歴", sync="同期の問題|同期の失敗", conflicts="競合|重複",
        local="ローカルの失敗|ローカル エラー", server="サーバーの失敗|サーバー エラー", rss="RSS フィード|RSS 購読",
        history="会話の履歴",
    ),
    "zh-Hans": _names(
        sent="已发送邮件|已发送的邮件", drafts="草稿", deleted="已删除邮件|已删除的邮件",
        junk="垃圾邮件|垃圾电子邮件", outbox="发件箱", archive="存档", calendar="日历", contacts="联系人",
        tasks="任务", notes="便笺|注释|附注", journal="日记", sync="同步问题", conflicts="冲突",
        local="本地故障|本地失败", server="服务器故障|服务器失败", rss="RSS 源|RSS 订阅",
        history="对话历史记录|会话历史|会话历史记录",
    ),
    "zh-Hant": _names(
        sent="寄件備份", drafts="草稿", deleted="刪除的郵件|已刪除的郵件", junk="垃圾郵件|垃圾電子郵件",
        outbox="寄件匣", archive="封存", calendar="行事曆", contacts="連絡人", tasks="工作", notes="記事",
        journal="日誌", sync="同步處理問題|同步問題", conflicts="衝突", local="本機失敗", server="伺服器失敗",
        rss="RSS 摘要", history="交談歷程記錄|對話歷程記錄",
    ),
    "ko": _names(
        sent="보낸 편지함", drafts="임시 보관함", deleted="지운 편지함", junk="정크 메일|정크 전자 메일",
        outbox="보낼 편지함", archive="보관|보관함", calendar="일정", contacts="연락처", tasks="작업", notes="메모",
        journal="업무 일지|일지", sync="동기화 문제", conflicts="충돌", local="로컬 실패|로컬 오류",
        server="서버 오류|서버 실패", rss="RSS 피드", history="대화 내용|대화 기록",
    ),
    "et": _names(
        sent="Saadetud üksused", drafts="Mustandid", deleted="Kustutatud üksused", junk="Rämpspost",
        outbox="Väljundkaust", archive="Arhiiv", calendar="Kalender", contacts="Kontaktid", tasks="Ülesanded",
        notes="Märkmed|Märkused", journal="Päevik", sync="Sünkroonimisprobleemid", conflicts="Konfliktid",
        local="Kohalikud nurjumised", server="Serveritõrked",
    ),
    "lv": _names(
        sent="Nosūtītie vienumi|Nosūtītās ziņas", drafts="Melnraksti", deleted="Izdzēstie vienumi",
        junk="Nevēlamais e-pasts|Nevēlams e-pasts", outbox="Izsūtne", archive="Arhīvs", calendar="Kalendārs",
        contacts="Kontaktpersonas", tasks="Uzdevumi", notes="Piezīmes", journal="Žurnāls",
        sync="Sinhronizācijas problēmas", conflicts="Konflikti", local="Lokālas kļūmes", server="Servera kļūmes",
    ),
    "lt": _names(
        sent="Išsiųsta|Išsiųsti elementai", drafts="Juodraščiai", deleted="Panaikinta|Panaikinti elementai",
        junk="Nepageidaujamas el. paštas|Šlamštas", outbox="Siunčiama|Siunčiamieji", archive="Archyvas",
        calendar="Kalendorius", contacts="Kontaktai|Adresatai", tasks="Užduotys", notes="Pastabos",
        journal="Žurnalas", sync="Sinchronizavimo problemos", conflicts="Nesuderinamumai|Konfliktai",
        local="Vietinės klaidos", server="Serverio klaidos",
    ),
    "sl": _names(
        sent="Poslano|Poslani elementi", drafts="Osnutki", deleted="Izbrisano|Izbrisani elementi",
        junk="Neželena e-pošta|Neželena pošta", outbox="Odpošlji|V pošiljanju", archive="Arhiv", calendar="Koledar",
        contacts="Stiki", tasks="Opravila", notes="Opombe", journal="Dnevnik", sync="Težave s sinhronizacijo",
        conflicts="Spori", local="Lokalne napake", server="Napake strežnika",
    ),
    "hr": _names(
        sent="Poslane stavke|Poslano", drafts="Skice", deleted="Izbrisane stavke",
        junk="Bezvrijedna e-pošta|Bezvrijedna pošta", outbox="Izlazna pošta", archive="Arhiva|Arhiv",
        calendar="Kalendar", contacts="Kontakti", tasks="Zadaci", notes="Bilješke", journal="Dnevnik",
        sync="Problemi sa sinkronizacijom", conflicts="Konflikti", local="Lokalne greške",
        server="Greške poslužitelja",
    ),
    "sr-Latn": _names(
        sent="Poslate stavke|Poslato", drafts="Radne verzije", deleted="Izbrisane stavke",
        junk="Neželjena e-pošta|Neželjena pošta", outbox="Otpremno poštansko sanduče|Za slanje", archive="Arhiva",
        calendar="Kalendar", contacts="Kontakti", tasks="Zadaci", notes="Napomene|Beleške", journal="Dnevnik",
        sync="Problemi sa sinhronizacijom", conflicts="Neusaglašenosti", local="Lokalni neuspesi",
        server="Neuspesi servera",
    ),
    "sr-Cyrl": _names(
        sent="Послате ставке|Послато", drafts="Радне верзије", deleted="Избрисане ставке",
        junk="Нежељена е-пошта|Нежељена пошта", outbox="Отпремно поштанско сандуче|За слање", archive="Архива",
        calendar="Календар", contacts="Контакти", tasks="Задаци", notes="Напомене|Белешке", journal="Дневник",
        sync="Проблеми са синхронизацијом", conflicts="Неусаглашености", local="Локални неуспеси",
        server="Неуспеси сервера",
    ),
    "ca": _names(
        sent="Elements enviats", drafts="Esborranys", deleted="Elements suprimits",
        junk="Correu brossa|Correu electrònic brossa", outbox="Safata de sortida", archive="Arxiu",
        calendar="Calendari", contacts="Contactes", tasks="Tasques", notes="Notes", journal="Diari",
        sync="Problemes de sincronització", conflicts="Conflictes", local="Errors locals",
        server="Errors del servidor",
    ),
    "eu": _names(
        sent="Bidalitakoak", drafts="Zirriborroak", deleted="Ezabatutakoak", junk="Mezu baztergarriak",
        outbox="Irteerako ontzia", archive="Artxiboa", calendar="Egutegia", contacts="Kontaktuak",
        tasks="Atazak|Zereginak", notes="Oharrak", journal="Egunkaria", sync="Sinkronizazio-arazoak",
        conflicts="Gatazkak", local="Hutsegite lokalak", server="Zerbitzariaren hutsegiteak",
    ),
    "id": _names(
        sent="Item Terkirim", drafts="Konsep", deleted="Item Dihapus", junk="Email Sampah", outbox="Kotak Keluar",
        archive="Arsip", calendar="Kalender", contacts="Kontak", tasks="Tugas", notes="Catatan", journal="Jurnal",
        sync="Isu Sinkronisasi", conflicts="Konflik", local="Kegagalan Lokal", server="Kegagalan Server",
    ),
    "vi": _names(
        sent="Mục đã Gửi|Thư đã gửi", drafts="Bản nháp|Thư nháp", deleted="Mục đã xóa bỏ|Mục đã Xóa",
        junk="Email Rác|Thư rác", outbox="Hộp thư đi", archive="Lưu trữ", calendar="Lịch",
        contacts="Danh bạ|Liên hệ", tasks="Tác vụ|Nhiệm vụ", notes="Ghi chú", journal="Nhật ký",
        sync="Vấn đề Đồng bộ|Vấn đề về Đồng bộ", conflicts="Xung đột", local="Lỗi Cục bộ", server="Lỗi Máy chủ",
    ),
    "th": _names(
        sent="รายการที่ส่ง|รายการที่ถูกส่ง", drafts="แบบร่าง", deleted="รายการที่ถูกลบ|รายการที่ลบ", junk="อีเมลขยะ",
        outbox="กล่องจดหมายออก|กล่องขาออก", archive="ที่เก็บถาวร", calendar="ปฏิทิน", contacts="ที่ติดต่อ",
        tasks="งาน", notes="บันทึกย่อ", journal="บันทึกข้อความ|สมุดบันทึก", sync="ปัญหาในการซิงค์",
        conflicts="ข้อขัดแย้ง", local="ความล้มเหลวภายใน", server="ความล้มเหลวของเซิร์ฟเวอร์",
    ),
}
"""Outlook's and Exchange's own names, by language."""

_OTHERS = {
    SpecialUse.SENT: (
        "Sent|Sent Mail|Sent Messages|Sent-mail|Sentmail|Gesendet|Gesendete Nachrichten|Envoyés|Messages envoyés|"
        "Courrier envoyé|Enviados|Mensajes enviados|Enviadas|Mensagens enviadas|Inviati|Inviata|Messaggi inviati|"
        "Verzonden|Verzonden berichten|Sendt|Sendte beskeder|Wysłane|Wiadomości wysłane|Odeslané|Odoslané|"
        "Elküldött|Elküldött üzenetek|Trimise|Mesaje trimise|Отправленные письма|Отправлено|Надіслане|Gönderilmiş|"
        "Saadetud|Saadetud kirjad|Nosūtītie|Išsiųsti|Išsiųsti laiškai|Poslana pošta|送信済み|送信済みメール|"
        "已发送|已傳送|寄件備份匣|보낸메일함"
    ),
    SpecialUse.DRAFTS: (
        "Draft|Rozepsané|Rozpísané|Szkice|Taslak|草稿箱|草稿匣|임시보관함"
    ),
    SpecialUse.TRASH: (
        "Trash|Deleted|Deleted Messages|Bin|Papierkorb|Gelöscht|Corbeille|Papelera|Lixeira|Cestino|Prullenbak|"
        "Papperskorgen|Papirkurv|Papirkorg|Papirkurven|Roskakori|Kosz|Koš|Kôš|Kuka|Lomtár|Coș de gunoi|Корзина|"
        "Кошик|Кошче|Κάδος απορριμμάτων|Çöp|Çöp kutusu|אשפה|سلة المهملات|المهملات|ごみ箱|ゴミ箱|垃圾桶|回收站|"
        "휴지통|Prügikast|Miskaste|Šiukšlinė|Šiukšliadėžė|Smeti|Smeće"
    ),
    SpecialUse.JUNK: (
        "Junk|Spam|Junk Mail|Bulk Mail|Spamverdacht|Unerwünscht|Indésirables|Pourriel|Correo basura|"
        "Lixo eletrônico|Ongewenst|Uønsket|Niechciane|Nevyžádané|Nevyžiadané|Kéretlen|Спам|Спам-почта|スパム|"
        "迷惑メールフォルダ|垃圾信件|스팸|스팸메일함"
    ),
    SpecialUse.ARCHIVE: (
        "Archives|Archived|All Archive|Archivados|Arquivos|Archiwa|Архивы|归档|보관 편지함"
    ),
}
# fmt: on

OTHERS: Names = {use: tuple(text.split("|")) for use, text in _OTHERS.items()}
"""What other clients and servers call their special folders (Thunderbird, Apple Mail, webmail, providers)."""

INBOX_NAMES: tuple[str, ...] = (
    *("Inbox", "Posteingang", "Boîte de réception", "Bandeja de entrada", "Posta in arrivo", "Caixa de Entrada"),
    *("A Receber", "Postvak IN", "Inkorgen", "Indbakke", "Innboks", "Saapuneet", "Skrzynka odbiorcza"),
    *("Doručená pošta", "Beérkezett üzenetek", "Mesaje primite", "Входящи", "Входящие", "Вхідні", "Εισερχόμενα"),
    *("Gelen Kutusu", "תיבת דואר נכנס", "علبة الوارد", "受信トレイ", "收件箱", "收件匣", "받은 편지함", "Sisendkaust"),
    *(
        "Iesūtne",
        "Gautieji",
        "Prejeto",
        "Ulazna pošta",
        "Safata d'entrada",
        "กล่องจดหมายเข้า",
        "Hộp thư đến",
        "Kotak Masuk",
    ),
)
"""What PowerShell calls the folder that IMAP calls INBOX whatever the language."""
